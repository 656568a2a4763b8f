"""The machine's own ceiling: the fastest it computes anything of the kind this project computes.

Measured in the run that uses it, since a shared machine is not the same an hour later.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F


def ceiling_flops(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """FLOP/s of a large matrix product and of a channels-last 3×3 convolution (64 channels, 64×64)."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    batch = 256 if device.type == "cuda" else 32
    images = torch.randn(batch, 64, 64, 64, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.no_grad():
        return {
            "matrix_product": 2 * size**3 / median_seconds(lambda: a @ b, device),
            "convolution": 2
            * batch
            * 64
            * 64
            * 64
            * 64
            * 9
            / median_seconds(lambda: F.conv2d(images, kernel, padding=1), device),
        }


def median_seconds(call: Callable[[], object], device: torch.device, *, repeats: int = 7) -> float:
    """Median wall time of a call, after one that warms up; the device is idle before and after each."""
    call()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
