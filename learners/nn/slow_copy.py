"""A copy of a network that follows it slowly, so that what is learnt does not chase itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, rate: float, is_taken: Tensor) -> None:
    """slow ← (1 − rate) slow + rate fast, parameter by parameter, where the step is taken: a flag on the device, which
    nobody waits for."""
    for behind, ahead in zip(slow.parameters(), fast.parameters(), strict=True):
        behind.copy_(torch.where(is_taken, (1.0 - rate) * behind + rate * ahead, behind))
