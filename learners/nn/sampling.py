"""Sampling with the noise as an argument, so that every path that computes the same logits draws the same tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_categorical(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Inverse-CDF samples: the first index whose cumulative probability exceeds the uniform.

    Args:
        logits: (..., V), unnormalised.
        uniforms: (...) in [0, 1).

    Returns: (...) int64 in 0..V-1.
    """
    cumulative = logits.float().softmax(dim=-1).cumsum(dim=-1)  # (..., V)
    # Rounding can leave the last entry below 1; scaling by it keeps every index < V.
    targets = uniforms.unsqueeze(-1) * cumulative[..., -1:]
    return (cumulative <= targets).sum(dim=-1).clamp_(max=logits.shape[-1] - 1)


def uniforms(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """float32 in [0, 1), drawn on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device)
