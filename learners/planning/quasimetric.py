"""Steps to a goal as a distance: states that follow each other are at most one apart, all others as far as can be.

A distance that is larger cannot be made without stretching some step beyond one, so what is left is the length of the
shortest way, whatever walks were seen: pieces of them are put together by the triangle inequality, which holds by
construction.

Legend: B segments, T steps of each, D features, G groups of M coordinates.
Sources: Wang, Torralba, Isola, Zhang (2023), Optimal Goal-Reaching Reinforcement Learning via Quasimetric Learning;
Liu, Feng, Liu, Stone (2023), Metric Residual Networks: maxima of one-sided differences.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learners.drawing import UniformDrawing
from learners.nn.mlp import mlp
from learners.part import Losses, Mean, Part, Segments
from learners.planning.config import CriticConfig

GROUPS, COORDINATES = 8, 32
STRICTNESS = 100.0
"""Weight of what steps are longer than one, squared."""


class Quasimetric(nn.Module):
    """d(z, goal) = mean over G of max over M of max(0, φ(z) − φ(goal)): d(z, z) = 0, d(a, c) ≤ d(a, b) + d(b, c)."""

    has_goals = True

    def __init__(self, config: CriticConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.coordinates = nn.Sequential(
            mlp(features, config.hidden, GROUPS * COORDINATES, layers=3), nn.Unflatten(-1, (GROUPS, COORDINATES))
        )

    @property
    def part(self) -> Part:
        return Part(
            name="critic",
            module=self,
            training=self.config.training,
            drawing=UniformDrawing(2, anchor="start"),
            columns=("features",),
            loss=self.loss,
            in_full_precision=True,
        )

    def forward(self, features: Tensor, goals: Tensor | None = None) -> Tensor:
        """Steps (...) from features (..., D) to the goals' (..., D), which broadcast."""
        assert goals is not None
        ahead = self.coordinates(features) - self.coordinates(goals)
        return ahead.clamp(min=0.0).amax(dim=-1).mean(dim=-1)

    def loss(self, segments: Segments, noise: Tensor) -> Losses:
        """100 · mean of max(0, d(z_0, z_1) − 1)² + mean over pairs of segments of softplus(`reach` − d(z_0, z'_0)).

        Far beyond `reach` nothing is pushed apart any more. The steps are those of which both ends are known.
        """
        features, known = segments.columns["features"].float(), segments.mask[:, 1].float()
        first, second = features[:, 0], features[:, 1]
        too_long = (self(first, second) - 1.0).clamp(min=0.0)
        apart = self(first, first.roll(1, 0))
        count = torch.full_like(known[0], len(known))
        terms = {
            "steps": Mean(STRICTNESS * (too_long.square() * known).sum(), known.sum()),
            "pairs": Mean(nn.functional.softplus(self.config.reach - apart).sum(), count),
        }
        with torch.no_grad():
            metrics = {
                "apart": Mean(apart.sum(), count).value,
                "too_long": Mean((too_long * known).sum(), known.sum()).value,
            }
        return Losses(terms, metrics)
