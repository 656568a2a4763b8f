"""The machine's own ceiling: the fastest it computes anything of the kind this project computes.

Measured in the run that uses it, since a shared machine is not the same an hour later.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from benchmarks.timing import median_seconds


class Ceiling(NamedTuple):
    """FLOP/s."""

    matrix_product: float
    """Of two large matrices."""
    convolution: float
    """3×3, channels-last, 64 channels, 64×64."""


Ceilings = dict[str, Ceiling]
"""Precision -> ceiling."""


def measure_ceilings(device: torch.device) -> Ceilings:
    """In both number formats, one right after the other."""
    return {"float32": _measure(device, torch.float32), "bfloat16": _measure(device, torch.bfloat16)}


@torch.no_grad()
def _measure(device: torch.device, dtype: torch.dtype) -> Ceiling:
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    product = median_seconds(lambda: a @ b, device)
    batch, channels, side = 256 if device.type == "cuda" else 32, 64, 64
    images = torch.randn(batch, channels, side, side, device=device, dtype=dtype)
    images = images.to(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    convolution = median_seconds(lambda: F.conv2d(images, kernel, padding=1), device)
    return Ceiling(2 * size**3 / product, 2 * batch * side**2 * channels**2 * 9 / convolution)
