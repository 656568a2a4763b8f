"""A slow copy of the network that learns: values are read off it, so that returns do not chase themselves.

Source: Micheli, Alonso, Fleuret (2024); Mnih et al. (2015) for target networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from learners.dreaming.actor_critic import ActorCritic


class WithTarget(nn.Module):
    """A policy with its value, and a copy that follows it; each has a recurrent state of its own."""

    def __init__(self, online: ActorCritic, rate: float) -> None:
        """`rate`: how far the copy moves towards the network in a gradient step."""
        super().__init__()
        self.online = online
        self.target = deepcopy(online).requires_grad_(False)
        self.rate = rate

    @torch.no_grad()
    def follow(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        """For `Part.before_step`: target ← (1 − rate) target + rate online, where the step is taken."""
        for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
            slow.copy_(torch.where(is_taken, (1.0 - self.rate) * slow + self.rate * fast, slow))
