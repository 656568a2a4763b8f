"""Short-term memory of what was planned: states, when that was, what they cost; read by time, or by what they are like.

What was lived through is in the replay store, which forgets nothing; what was planned is nowhere, unless it is kept.
Its tensors are buffers: they belong to the part that writes them, and so to a commit.

Legend: W walks that are kept, H steps of each, M rows, D features.
Source: LeCun (2022), A Path Towards Autonomous Machine Intelligence, §3.3 and the end of §4.10: a key-value memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Walks(NamedTuple):
    """Ways to goals."""

    states: Tensor  # (M, H + 1, D)
    goals: Tensor  # (M, D)
    costs: Tensor  # (M, H): of each step
    steps: Tensor  # (M,) int64: until the goal is reached, or H; 0 where nothing is known
    arrived: Tensor  # (M,) bool: whether it is reached


class ShortTermMemory(nn.Module):
    """The last W walks. The time of a walk is how many were written before it."""

    states: Tensor
    goals: Tensor
    costs: Tensor
    steps: Tensor
    arrived: Tensor
    written: Tensor

    def __init__(self, walks: int, steps: int, features: int) -> None:
        super().__init__()
        self.register_buffer("states", torch.zeros(walks, steps + 1, features))
        self.register_buffer("goals", torch.zeros(walks, features))
        self.register_buffer("costs", torch.zeros(walks, steps))
        self.register_buffer("steps", torch.zeros(walks, dtype=torch.int64))
        self.register_buffer("arrived", torch.zeros(walks, dtype=torch.bool))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    @property
    def _walks(self) -> Walks:
        return Walks(self.states, self.goals, self.costs, self.steps, self.arrived)

    def write(self, walks: Walks, is_taken: Tensor) -> None:
        """In place of the oldest, where the flag says so; not more than W at once."""
        size = len(walks.steps)
        positions = (self.written + torch.arange(size, device=self.written.device)) % len(self._walks.steps)
        for kept, new in zip(self._walks, walks, strict=True):
            kept.index_copy_(0, positions, torch.where(is_taken, new, kept[positions]))
        self.written += size * is_taken

    def times(self, uniforms: Tensor) -> Tensor:
        """Of walks that are kept, (M,) drawn with uniforms (M,); −1 if there are none."""
        kept = self.written.clamp(max=len(self._walks.steps))
        return self.written - 1 - (uniforms * kept).long()

    def at(self, times: Tensor) -> Walks:
        """The walks of times (M,), with no steps where none is kept."""
        size = len(self._walks.steps)
        walks = Walks(*(each[times % size] for each in self._walks))
        is_kept = (times < self.written) & (times >= self.written - size)
        # Of a file that says so, too, no walk has more steps than there are.
        return walks._replace(steps=torch.where(is_kept, walks.steps, 0).clamp(0, self.costs.shape[1]))

    def like(self, states: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        """What steps from states like (M, D) cost, and how familiar those are, from 0 to 1: (M,) each.

        c_j = exp(−mean over D of (k_j − q)² / near), over every step j that is kept; the cost is Σ c v / (1 + Σ c), and
        Σ c / (1 + Σ c) is how familiar. What was written once is known at once.
        """
        known = torch.arange(self.costs.shape[1], device=states.device) < self.steps[:, None]  # (W, H)
        keys = self.states[:, :-1].flatten(0, 1)  # (W · H, D)
        distances = torch.cdist(states, keys).square() / states.shape[-1]
        matches = torch.where(known.flatten(), (-distances / near).exp(), 0.0)  # (M, W · H)
        total = 1.0 + matches.sum(dim=1)
        return (matches @ self.costs.flatten()) / total, 1.0 - 1.0 / total
