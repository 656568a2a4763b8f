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


def predictions(
    predict: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    first: Tensor,
    actions: Tensor,
    steps: int,
    codes: Tensor | None = None,
) -> Tensor:
    """(B, K, D): features after 1 … K steps, K = min(steps, L − 1), from first (B, D) under actions (B, L, A), each by
    the code (B, K) of how the step turned out, where there are codes."""
    found = [first]
    for step in range(min(steps, actions.shape[1] - 1)):
        found.append(predict(found[-1], actions[:, step], None if codes is None else codes[:, step]))
    return torch.stack(found[1:], dim=1)


class Chances(NamedTuple):
    """How steps t = 1 … L − 1 turned out."""

    codes: Tensor  # (B, L − 1) int64: which comes nearest to what followed
    errors: Tensor  # (B, L − 1): mean squared error of all codes


def chances(
    outcomes: Callable[[Tensor, Tensor], Tensor], features: Tensor, actions: Tensor, followed: Tensor
) -> Chances:
    """Of each step on its own, from the features (B, L, D) that it began with, under actions (B, L, A): what a rollout
    is off by is no chance. It was to predict `followed` (B, L, D), of the next row. `outcomes` of features (M, D) and
    actions (M, A) are (M, C, D)."""
    before, after, done = (each.flatten(0, 1) for each in (features[:, :-1], followed[:, 1:], actions[:, :-1]))
    errors = (outcomes(before, done) - after.unsqueeze(1)).square().mean(dim=-1)  # (B · (L − 1), C)
    shape = (features.shape[0], features.shape[1] - 1)
    return Chances(errors.detach().argmin(dim=1).view(shape), errors.mean(dim=1).view(shape))


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
