"""A slow copy of the network that learns: values are read off it, so that returns do not chase themselves.

Source: Micheli, Alonso, Fleuret (2024); Mnih et al. (2015) for target networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from torch import Tensor, nn

from learners.dreaming.actor_critic import ActorCritic
from learners.nn.slow_copy import follow


class WithTarget(nn.Module):
    """A policy with its value, and a copy that follows it; each has a recurrent state of its own."""

    def __init__(self, online: ActorCritic, rate: float) -> None:
        """`rate`: how far the copy moves towards the network in a gradient step."""
        super().__init__()
        self.online = online
        self.target = deepcopy(online).requires_grad_(False)
        self.rate = rate

    def follow(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        """For `Part.before_step`."""
        follow(self.target, self.online, self.rate, is_taken)
