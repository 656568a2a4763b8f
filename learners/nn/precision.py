"""Mixed precision: under autocast, matrix products and convolutions run in bfloat16; these say what does not.

Without autocast nothing here changes a bit.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The region in which networks compute in `precision` ("float32" or "bfloat16"); weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A region inside `autocast` that computes in the types of its inputs."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


class GroupNorm(nn.GroupNorm):
    """Normalises in float32 and returns what it was given; in bfloat16 its gradient is 3 times slower on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.float()).to(input.dtype)
