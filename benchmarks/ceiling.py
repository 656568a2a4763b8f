"""The machine's own ceiling: the fastest it computes anything of the kind this project computes.

Measured in the run that uses it, since a shared machine is not the same an hour later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from benchmarks.timing import median_seconds, seconds_of

CHANNELS = SIDE = 64
SLOW_S = 0.1
Work = tuple[int, Callable[[], object]]
"""Operations, and the call that does them."""


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
    def product(size: int) -> Work:
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        return 2 * size**3, lambda: a @ b

    def convolution(batch: int) -> Work:
        images = torch.randn(batch, CHANNELS, SIDE, SIDE, device=device, dtype=dtype)
        images = images.to(memory_format=torch.channels_last)
        kernel = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        return 2 * batch * SIDE**2 * CHANNELS**2 * 9, lambda: F.conv2d(images, kernel, padding=1)

    is_gpu = device.type == "cuda"
    return Ceiling(
        _fastest(product, [8192] if is_gpu else [256, 512, 1024, 2048], device),
        _fastest(convolution, [256] if is_gpu else [1, 4, 32], device),
    )


def _fastest(work_of: Callable[[int], Work], sizes: Sequence[int], device: torch.device) -> float:
    """FLOP/s at the largest size; at a smaller one, where a CPU has no instructions for a format and takes its time."""
    size = next((each for each in sizes if seconds_of(work_of(each)[1], device) > SLOW_S), sizes[-1])
    operations, call = work_of(size)
    return operations / median_seconds(call, device)
