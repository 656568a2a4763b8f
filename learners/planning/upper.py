"""A second level of a world model: what several steps of actions together make of features, and plans made of those.

It predicts in the same features, only farther at a time; the first state of its plan is what the level below goes for.

Legend: B segments, R coarse steps, k steps of each, E environments, P coarse steps of a plan, D features, A numbers of
an action, C numbers of a code.
Sources: LeCun (2022), A Path Towards Autonomous Machine Intelligence, §4.6–4.7: hierarchical planning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from learners.drawing import UniformDrawing
from learners.nn.mlp import mlp
from learners.part import Losses, Mean, Part, Segments
from learners.planning.config import UpperConfig, UpperPlannerConfig
from learners.planning.cost import Costs
from learners.planning.model import imagine
from learners.planning.numbers import Numbers
from learners.planning.plan import Plan, Task
from learners.planning.search import noise_shape, search

SLOWEST = 0.01
"""Of the moving averages, in a gradient step; the first steps count more."""
TAILS = 0.02
"""Of codes, the share on either side that plans do not use."""


class Upper(nn.Module):
    """z_{t+k} = Pred(z_t, m), m = Enc(a_t … a_{t+k−1}), a world model whose actions are codes, −1 to 1 in their box."""

    low: Tensor
    high: Tensor
    near: Tensor
    seen: Tensor

    def __init__(self, config: UpperConfig, predictor: nn.Module, numbers: Numbers) -> None:
        """`predictor` makes features (M, D) and codes (M, C) features (M, D)."""
        super().__init__()
        self.config = config
        self._numbers = numbers
        code = config.code
        self.predictor = predictor
        self.codes = mlp(config.steps * numbers.count, config.hidden, code)
        self.register_buffer("low", torch.zeros(code))
        """With `high`: between which the codes of what was done lie, but for their tails."""
        self.register_buffer("high", torch.zeros(code))
        self.register_buffer("near", torch.zeros(()))
        """Mean squared change of features in `config.near` steps."""
        self.register_buffer("seen", torch.zeros(()))
        """Gradient steps that the three are averages of: those that showed all of them."""

    @property
    def part(self) -> Part:
        return Part(
            name="upper",
            module=self,
            training=self.config.training,
            drawing=UniformDrawing(self.config.rollout * self.config.steps + 1, anchor="start"),
            columns=("features",),
            loss=self.loss,
            in_full_precision=True,
            after_step=self.follow,
        )

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Features (M, D) k steps after features (M, D), by codes (M, C) in half ranges of their box; nothing of it is
        drawn."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return self.predictor(features, middle + half * actions)

    def loss(self, segments: Segments, noise: Tensor) -> Losses:
        """mean over coarse steps r = 1 … R and D of (ẑ_{rk} − z_{rk})², ẑ from z_0 on by the codes of what was done."""
        steps, features = self.config.steps, segments.columns["features"].float()
        chunks = self._numbers.of(segments.actions)[:, :-1].unflatten(1, (-1, steps)).flatten(2)  # (B, R, k · A)
        codes, mask = self.codes(chunks), segments.mask[:, steps::steps]  # (B, R, C), (B, R)
        state, errors = features[:, 0], []
        for number, code in enumerate(codes.unbind(1), start=1):
            state = self.predictor(state, code)
            errors.append((state - features[:, number * steps]).square().mean(dim=-1))
        weights = mask.to(features.dtype)
        term = Mean((torch.stack(errors, dim=1) * weights).sum(), weights.sum())
        with torch.no_grad():
            sums = self._extent(codes, mask, features, segments.mask)
            still = (features[:, steps::steps] - features[:, :1]).square().mean(dim=-1)
            change = Mean((still * weights).sum(), weights.sum()).value
        return Losses({"prediction": term}, {"error_over_still": term.value / change.clamp(min=1e-12)}, sums)

    def follow(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        """For `Part.after_step`: moving averages of what the last batch showed, if it showed all of it."""
        rate = (1.0 / (self.seen + 1.0)).clamp(min=SLOWEST)
        with torch.no_grad():
            counts = is_taken & torch.cat([found.flatten() for found in sums.values()]).isfinite().all()
            for name, found in sums.items():
                average = getattr(self, name)
                average.copy_(torch.where(counts, average + rate * (found - average), average))
            self.seen.copy_(torch.where(counts, self.seen + 1.0, self.seen))

    def _extent(self, codes: Tensor, mask: Tensor, features: Tensor, real: Tensor) -> dict[str, Tensor]:
        near = self.config.near
        known = torch.where(mask[..., None], codes, torch.nan).flatten(0, 1)  # (B · R, C)
        low, high = (torch.nanquantile(known, share, dim=0) for share in (TAILS, 1.0 - TAILS))
        changes = (features[:, near:] - features[:, :-near]).square().mean(dim=-1)
        changed = torch.where(real[:, near:], changes, torch.nan).nanmean()
        return {"low": low, "high": high, "near": changed}


class Course(NamedTuple):
    """What the upper level is about."""

    plan: Plan
    foreseen: Tensor  # (E, P, D) after its coarse steps
    subgoal: Tensor  # (E, D): what the level below goes for; the goal itself, once it is near


@dataclass(frozen=True)
class UpperPlanner:
    level: Upper
    config: UpperPlannerConfig
    costs: Costs
    """Of these, what coarse steps can tell: the goal's distance, zones, and what a critic expects."""

    def noise_shape(self, environments: int) -> tuple[int, ...]:
        return noise_shape(self.config, environments, self.level.config.code)

    @torch.no_grad()
    def plan(self, features: Tensor, goals: Tensor, noise: Tensor) -> Course:
        """From features (E, D) to goals (E, D), with standard normal noise of `noise_shape`.

        It always begins from nothing: far from a goal all costs are nearly the same, and what was planned last from
        where it was stuck would be planned again.
        """
        task = Task(self.level, features, self.costs.coarse().to(goals, self.config.objective), block_steps=1)
        plan = search(task, self.config, noise).check()
        foreseen = imagine(self.level, features, plan.blocks.unsqueeze(1))[:, 0, 1:]
        is_near = (features - goals).square().mean(dim=-1) < self.level.near
        return Course(plan, foreseen, torch.where(is_near[:, None], goals, foreseen[:, 0]))
