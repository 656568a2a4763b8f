"""What the world model is trained by: its predictions, and what keeps its encodings apart.

Legend: B segments, L frames of each, C codes, N rows of them that are real, D features, A numbers of an action.
Sources: Bardes, Ponce, LeCun (2022), VICReg; Sobal et al. (2025), Learning from Reward-Free Offline Data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from learners.part import Mean, Statistic

EPSILON = 1e-4


class Predictions(NamedTuple):
    """Of 1 … K steps."""

    features: Tensor  # (B, K, D): by the best code of each step
    codes: Tensor  # (B, K) int64: which that is
    errors: Tensor  # (B, K): mean squared error of all codes


def predictions(
    outcomes: Callable[[Tensor, Tensor], Tensor], first: Tensor, actions: Tensor, followed: Tensor, steps: int
) -> Predictions:
    """From first (B, D) on, K = min(steps, L − 1) steps under actions (B, L, A).

    Of the `outcomes` (B, C, D) of each step that one counts, and is gone on from, which comes nearest to what followed,
    (B, L, D) with the first frame's.
    """
    state, found = first, []
    for step in range(min(steps, actions.shape[1] - 1)):
        every = outcomes(state, actions[:, step])  # (B, C, D)
        errors = (every - followed[:, step + 1 : step + 2]).square().mean(dim=-1)
        code = errors.detach().argmin(dim=1)
        state = every.gather(1, code[:, None, None].expand(-1, 1, every.shape[-1])).squeeze(1)
        found.append((state, code, errors.mean(dim=1)))
    return Predictions(*(torch.stack(each, dim=1) for each in zip(*found, strict=True)))


def squared_error(found: Tensor, expected: Tensor, mask: Tensor) -> Mean:
    """mean over the rows where mask (B, K) is True, and their numbers, of squared differences of (B, K, D)."""
    weights = mask.to(found.dtype)
    errors = (found - expected).square().mean(dim=-1)
    return Mean((errors * weights).sum(), weights.sum())


def moments(features: Tensor, real: Tensor) -> Tensor:
    """(1 + D + D²): number, sum and sum of products of the rows (N, D) where real (N,) is True, which add up over
    processes."""
    weights = real.to(features.dtype)
    weighted = features * weights[:, None]
    return torch.cat([weights.sum()[None], weighted.sum(dim=0), (weighted.T @ features).flatten()])


def _covariance(sums: Tensor, size: int) -> Tensor:
    """(D, D), with divisor N − 1."""
    count, total, products = sums[0], sums[1 : size + 1], sums[size + 1 :].unflatten(0, (size, size))
    return (products - total.outer(total) / count) / (count - 1.0).clamp(min=1.0)


def variance_term(features: Tensor, real: Tensor, weight: float) -> Statistic:
    """weight · mean over D of max(0, 1 − √(variance + 1e-4)), of the rows (N, D) where real (N,) is True."""
    size = features.shape[1]

    def of(sums: Tensor) -> Tensor:
        variances = _covariance(sums, size).diagonal().clamp(min=0.0)
        return weight * (1.0 - (variances + EPSILON).sqrt()).clamp(min=0.0).mean()

    return Statistic(moments(features, real), of)


def covariance_term(features: Tensor, real: Tensor, weight: float) -> Statistic:
    """weight · Σ_{i≠j} C_ij² / (D (D − 1)), C the covariance of the rows (N, D) where real (N,) is True."""
    size = features.shape[1]

    def of(sums: Tensor) -> Tensor:
        covariance = _covariance(sums, size)
        others = covariance - torch.diag(covariance.diagonal())
        return weight * others.square().sum() / max(1, size * (size - 1))

    return Statistic(moments(features, real), of)


def gaussian_term(features: Tensor, real: Tensor, directions: Tensor, weight: float) -> Statistic:
    """weight · mean over directions u (M, D) of N ∫ |φ(t) − e^{−t²/2}|² e^{−t²/2} dt from −3 to 3 by 33 points.

    φ(t) = mean of e^{itz·u} over the N rows z (N, D) where real (N,) is True; u are of length 1. Of N(0, 1) its
    expectation does not depend on N.
    """
    points = torch.linspace(0.0, 3.0, 17, device=features.device)
    angles = (features @ directions.T).unsqueeze(-1) * points  # (N, M, 17)
    weights = real.to(features.dtype)
    sums = torch.stack([angles.cos(), angles.sin()], dim=1)  # (N, 2, M, 17)
    sums = torch.cat([weights.sum()[None], torch.einsum("n,ncmt->cmt", weights, sums).flatten()])

    def of(sums: Tensor) -> Tensor:
        cosine, sine = (sums[1:] / sums[0]).unflatten(0, (2, len(directions), len(points)))
        window = (-0.5 * points.square()).exp()
        distance = (cosine - window).square() + sine.square()
        return weight * sums[0] * 2.0 * torch.trapezoid(distance * window, points, dim=-1).mean()

    return Statistic(sums, of)


def spread(features: Tensor, real: Tensor) -> Tensor:
    """Mean over D of the standard deviation over the rows (N, D) where real (N,) is True: about 1 when healthy, near 0
    when collapsed."""
    size = features.shape[1]
    sums = moments(features, real)
    variances = (
        sums[1 + size :].unflatten(0, (size, size)).diagonal() / sums[0] - (sums[1 : 1 + size] / sums[0]).square()
    )
    return variances.clamp(min=0.0).sqrt().mean()
