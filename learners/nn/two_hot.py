"""Real numbers as distributions over buckets: two-hot in symlog space, for targets of any scale.

Buckets are evenly spaced on [−20, 20]; what lies beyond is clipped (symexp(20) is 4.9·10⁸).
Source: Hafner, Pasukonis, Ba, Lillicrap (2023), DreamerV3.
"""

from __future__ import annotations

import torch
from torch import Tensor

LIMIT = 20.0


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp|x| − 1), the inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


def two_hot(values: Tensor, buckets: int) -> Tensor:
    """Weights (..., buckets) of values (...): on the two buckets around symlog(value), the nearer one's the greater, so
    that their mean is symlog(value); they add up to 1."""
    spacing = 2.0 * LIMIT / (buckets - 1)
    positions = (symlog(values.float()).clamp(-LIMIT, LIMIT) + LIMIT) / spacing  # (...) in [0, buckets − 1]
    distances = (positions.unsqueeze(-1) - torch.arange(buckets, device=values.device)).abs()  # (..., buckets)
    return (1.0 - distances).clamp(min=0.0)


def two_hot_mean(logits: Tensor) -> Tensor:
    """symexp(softmax(logits) · buckets): values (...) of logits (..., buckets)."""
    buckets = torch.linspace(-LIMIT, LIMIT, logits.shape[-1], device=logits.device)
    return symexp((logits.float().softmax(dim=-1) * buckets).sum(dim=-1))


def two_hot_cross_entropy(logits: Tensor, values: Tensor) -> Tensor:
    """−two_hot(value) · log softmax(logits), (...), of logits (..., buckets) and values (...)."""
    return -(two_hot(values, logits.shape[-1]) * logits.float().log_softmax(dim=-1)).sum(dim=-1)
