"""What the world model is trained by: its predictions, and what keeps its encodings apart.

Legend: B segments, L frames of each, N rows of them that are real, D features, A numbers of an action.
Sources: Bardes, Ponce, LeCun (2022), VICReg; Sobal et al. (2025), Learning from Reward-Free Offline Data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learners.part import Mean, Statistic

EPSILON = 1e-4


def predictions(predict: Callable[[Tensor, Tensor], Tensor], first: Tensor, actions: Tensor, steps: int) -> Tensor:
    """(B, K, D): features after 1 … K steps, K = min(steps, L − 1), from first (B, D) under actions (B, L, A)."""
    found = [first]
    for step in range(min(steps, actions.shape[1] - 1)):
        found.append(predict(found[-1], actions[:, step]))
    return torch.stack(found[1:], dim=1)


def squared_error(found: Tensor, expected: Tensor, mask: Tensor) -> Mean:
    """mean over the rows where mask (B, K) is True, and their numbers, of squared differences of (B, K, D)."""
    weights = mask.to(found.dtype)
    errors = (found - expected).square().mean(dim=-1)
    return Mean((errors * weights).sum(), weights.sum())


def moments(features: Tensor) -> Tensor:
    """(1 + D + D²): number, sum and sum of products of rows (N, D), which add up over processes."""
    count = features.new_tensor([len(features)])
    return torch.cat([count, features.sum(dim=0), (features.T @ features).flatten()])


def _covariance(sums: Tensor, size: int) -> Tensor:
    """(D, D), with divisor N − 1."""
    count, total, products = sums[0], sums[1 : size + 1], sums[size + 1 :].unflatten(0, (size, size))
    return (products - total.outer(total) / count) / (count - 1.0).clamp(min=1.0)


def variance_term(features: Tensor, weight: float) -> Statistic:
    """weight · mean over D of max(0, 1 − √(variance + 1e-4)), of rows (N, D)."""
    size = features.shape[1]

    def of(sums: Tensor) -> Tensor:
        variances = _covariance(sums, size).diagonal().clamp(min=0.0)
        return weight * (1.0 - (variances + EPSILON).sqrt()).clamp(min=0.0).mean()

    return Statistic(moments(features), of)


def covariance_term(features: Tensor, weight: float) -> Statistic:
    """weight · Σ_{i≠j} C_ij² / (D (D − 1)), C the covariance of rows (N, D)."""
    size = features.shape[1]

    def of(sums: Tensor) -> Tensor:
        covariance = _covariance(sums, size)
        others = covariance - torch.diag(covariance.diagonal())
        return weight * others.square().sum() / max(1, size * (size - 1))

    return Statistic(moments(features), of)


def spread(features: Tensor) -> Tensor:
    """Mean over D of the standard deviation over rows (N, D): about 1 when healthy, near 0 when collapsed."""
    return features.std(dim=0, correction=0).mean()
