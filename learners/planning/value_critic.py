"""A critic by values: the steps, or the costs, that are still to come, from a target that goes on by itself.

Legend: B segments, T steps of each, K steps that a target counts, D features.
Sources: Andrychowicz et al. (2017), Hindsight Experience Replay; Kostrikov, Nair, Levine (2022), Offline Reinforcement
Learning with Implicit Q-Learning: expectiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from learners.drawing import UniformDrawing
from learners.nn.mlp import mlp
from learners.nn.slow_copy import follow
from learners.part import Losses, Mean, Part, Segments
from learners.planning.config import CriticConfig
from learners.planning.model import with_goals

UNIFORMS = 3
"""Of each segment, that its goal is drawn by."""


class ValueCritic(nn.Module):
    """V(z, goal), or V(z) where costs are of rewards; and a slow copy of it, which targets go on from."""

    def __init__(self, config: CriticConfig, features: int, *, has_goals: bool) -> None:
        super().__init__()
        self.config, self.has_goals = config, has_goals
        self.value = mlp(features * (1 + has_goals), config.hidden, 1, layers=3)
        self.slow = deepcopy(self.value).requires_grad_(False)

    def forward(self, features: Tensor, goals: Tensor | None = None) -> Tensor:
        """(...) of features (..., D) and the goals' (..., D), which broadcast."""
        return self.value(with_goals(features, goals)).squeeze(-1)

    @property
    def part(self) -> Part:
        return Part(
            name="critic",
            module=self,
            training=self.config.training,
            drawing=UniformDrawing(self.length, anchor="start"),
            columns=("features",),
            loss=self.loss,
            noise=(1, UNIFORMS) if self.has_goals else (0, 0),
            in_full_precision=True,  # steps to a goal are large numbers, and differ by little
            after_step=self.follow,
        )

    @property
    def length(self) -> int:
        """Steps of the segments that it learns from."""
        return 1 + (max(self.config.steps, self.config.reach) if self.has_goals else self.config.steps)

    def follow(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        """For `Part.after_step`."""
        follow(self.slow, self.value, self.config.rate, is_taken)

    def loss(self, segments: Segments, noise: Tensor) -> Losses:
        """mean of |expectile − [u < 0]| u², u = target − V(z_0), over the segments of which something is known.

        The target is Σ_{k<K} discount^k cost_k + discount^K V_slow(z_K), the last term 0 where nothing follows: K is
        `steps`, or less where the segment stops, the goal is reached, or a reward's episode ends. An expectile below
        0.5 values what the best of the walks that were seen did, not their average. Noise is (1, B, `UNIFORMS`).
        """
        features = segments.columns["features"].float()
        with torch.no_grad():
            if self.has_goals:
                goals, outcome = _to_goals(self.config, features, segments.mask, noise[0])
            else:
                goals, outcome = None, _of_rewards(self.config, segments)
        term, metrics = self.error(features, goals, outcome)
        return Losses({"value": term}, metrics)

    def error(self, features: Tensor, goals: Tensor | None, outcome: Outcome) -> tuple[Mean, dict[str, Tensor]]:
        """Of walks (B, T, D) to goals (B, D): the loss of their first steps, with its metrics."""
        config = self.config
        with torch.no_grad():
            rows = torch.arange(len(features), device=features.device)
            powers = config.discount ** torch.arange(outcome.costs.shape[1] + 1, device=features.device)
            counted = torch.arange(outcome.costs.shape[1], device=features.device) < outcome.steps[:, None]
            costs = torch.where(counted, outcome.costs * powers[:-1], 0.0).sum(dim=1)
            last = features[rows, outcome.steps.clamp(max=features.shape[1] - 1)]  # (B, D)
            rest = powers[outcome.steps] * self.slow(with_goals(last, goals)).squeeze(-1)
            targets = costs + torch.where(outcome.is_over, 0.0, rest)
        values = self(features[:, 0], goals)
        errors = targets - values
        weights = torch.where(errors < 0, 1.0 - config.expectile, config.expectile)
        known = (outcome.steps > 0).to(errors.dtype)
        metrics = {
            "value": Mean((known * values.detach()).sum(), known.sum()).value,
            "over": Mean((known * outcome.is_over).sum(), known.sum()).value,
        }
        return Mean((known * weights * errors.square()).sum(), known.sum()), metrics


class Outcome(NamedTuple):
    """What became of each segment's first step."""

    costs: Tensor  # (B, at most T) from its action on
    steps: Tensor  # (B,) int64: how many of them count; 0 where nothing is known
    is_over: Tensor  # (B,) bool: nothing follows them


def _to_goals(config: CriticConfig, features: Tensor, mask: Tensor, uniforms: Tensor) -> tuple[Tensor, Outcome]:
    """Goals (B, D): where the segment itself came to later, or where the one before it in the batch was."""
    rows, known = torch.arange(len(features), device=features.device), mask[:, 1:].sum(dim=1)  # (B,)
    is_other = uniforms[:, 0] < config.others
    own = known.clamp(max=config.reach)
    reached = 1 + (uniforms[:, 1] * own).long().clamp(max=own - 1)
    elsewhere = (uniforms[:, 2] * (1 + known.roll(1))).long().clamp(max=known.roll(1))
    goals = torch.where(is_other[:, None], features.roll(1, 0)[rows, elsewhere], features[rows, reached.clamp(min=0)])
    most = known.clamp(max=config.steps)
    is_over = ~is_other & (reached <= most)
    if config.kind == "time":
        costs = torch.ones_like(mask[:, 1:], dtype=features.dtype)
    else:
        costs = (features[:, 1:] - goals[:, None]).square().mean(dim=-1)
    return goals, Outcome(costs, torch.where(is_over, reached, most), is_over & (known > 0))


def _of_rewards(config: CriticConfig, segments: Segments) -> Outcome:
    """−sign(reward) of every step whose outcome is known."""
    follows = torch.cat([segments.mask[:, 1:], torch.zeros_like(segments.mask[:, :1])], dim=1)
    known = ((follows | segments.ends) & segments.mask).sum(dim=1).clamp(max=config.steps)
    is_counted = torch.arange(segments.mask.shape[1], device=known.device) < known[:, None]
    return Outcome(-segments.rewards.sign(), known, (segments.ends & is_counted).any(dim=1))
