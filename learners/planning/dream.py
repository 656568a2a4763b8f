"""A latent model with heads of reward and end, as something to be dreamt in.

Legend: B trajectories, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.planning.cost import Heads
from learners.planning.model import Predicts
from learners.planning.numbers import Numbers


class LatentDream:
    """A rollout that starts from features (B, D); it is random in its ends, and in outcomes if there are several."""

    def __init__(self, model: Predicts, heads: Heads, numbers: Numbers, features: Tensor) -> None:
        self._model = model
        self._heads = heads
        self._numbers = numbers
        self.features = [features]

    @torch.no_grad()
    def step(self, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (B, 1) is for the end, (B, 2) for which outcome a step has as well."""
        outcome = noise[:, 1] if noise.shape[1] > 1 else None
        self.features.append(self._model.predict(self.features[-1], self._numbers.of(actions), outcome))
        rewards, ends = self._heads(self.features[-1])
        return rewards, noise[:, 0] < ends.sigmoid()
