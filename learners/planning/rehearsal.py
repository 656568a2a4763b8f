"""A critic that learns from plans, too: some are made in every gradient step, remembered, and looked back on.

What was lived through was rarely done well; a plan is the best that was found. So a target that goes on along plans
tells what planning will pay, without an expectile having to guess it; and where critic and plans improve each other,
what they tell travels farther than a plan does.

Legend: P plans of a gradient step, B rows, H steps of a plan, D features, A numbers of an action.
Sources: LeCun (2022), A Path Towards Autonomous Machine Intelligence, §3.3; Sutton (1991), Dyna: learning from what a
model foresees as if it had been lived through.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from learners.part import Losses, Segments
from learners.planning.config import RehearsalConfig
from learners.planning.model import imagine
from learners.planning.numbers import Numbers
from learners.planning.plan import Task
from learners.planning.search import noise_shape, search
from learners.planning.short_term_memory import ShortTermMemory, Walks
from learners.planning.value_critic import UNIFORMS, Outcome, ValueCritic


class Rehearsal(nn.Module):
    def __init__(self, critic: ValueCritic, block_steps: int, features: int, numbers: Numbers) -> None:
        """Plans of actions that are held for `block_steps`."""
        super().__init__()
        assert critic.has_goals
        self.critic = critic
        self._numbers = numbers
        self._steps = self.config.planner.blocks * block_steps
        self.memory = ShortTermMemory(self.config.memory, self._steps, features)

    @property
    def config(self) -> RehearsalConfig:
        return self.critic.config.rehearsal

    @property
    def uniforms(self) -> int:
        """Of each row: the critic's, which walk is looked back on and from where, and the noise of a plan."""
        return UNIFORMS + 2 + prod(self._noise_shape(1))

    def follow(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        """For `Part.after_step`: remembers what was planned, if all of it is finite."""
        self.critic.follow(is_taken, sums)
        is_finite = torch.stack([each.isfinite().all() for each in sums.values()]).all()
        self.memory.write(Walks(**sums), is_taken & is_finite)

    def loss(self, segments: Segments, task: Task, goals: Tensor, noise: Tensor) -> Losses:
        """The critic's loss on segments, and the same on as many steps of remembered plans.

        Of a walk the steps from one of them on count until it has reached its goal, which is over then, or to its end.
        What is planned now, from the task's start (P, D) to goals (P, D), is remembered after the step, and looked
        back on from the next one on. Noise is (1, B, `uniforms`).
        """
        of_critic, which, of_plan = noise[0].split([UNIFORMS, 2, noise.shape[2] - UNIFORMS - 2], dim=1)
        lived = self.critic.loss(segments, of_critic.unsqueeze(0))
        with torch.no_grad():
            near = _change(segments)
            fresh = self._foreseen(task, goals, near, of_plan[: len(goals)])
            walks = self.memory.at(self.memory.times(which[:, 0]))
            first = (which[:, 1] * walks.steps).long()  # (B,)
            states, outcome = self._rest_of(walks, first)
            familiar = self.memory.like(task.start, near)[1].mean()
        planned, metrics = self.critic.error(states, walks.goals, outcome)
        seen = {f"planned_{name}": value for name, value in metrics.items()} | {"familiar": familiar}
        return Losses({**lived.terms, "planned": planned}, {**lived.metrics, **seen}, fresh._asdict())

    def _foreseen(self, task: Task, goals: Tensor, near: Tensor, uniforms: Tensor) -> Walks:
        """Where plans lead; a goal is reached once it is nearer than what one step changes."""
        shape = self._noise_shape(len(goals))  # (I, P, N, blocks, A)
        normal = torch.special.ndtri(uniforms.clamp(1e-6, 1.0 - 1e-6))
        normal = normal.unflatten(1, (shape[0], *shape[2:])).transpose(0, 1)
        blocks = search(task, self.config.planner, normal, choices=not self._numbers.is_box).blocks.detach()
        actions = blocks.repeat_interleave(task.block_steps, dim=1).unsqueeze(1)
        states = imagine(task.model, task.start, actions)[:, 0]  # (P, H + 1, D)
        distances = (states[:, 1:] - goals[:, None]).square().mean(dim=-1)  # (P, H)
        is_there = distances < near
        arrived = is_there.any(dim=1)
        steps = torch.where(arrived, 1 + is_there.int().argmax(dim=1), self._steps)
        costs = torch.ones_like(distances) if self.critic.config.kind == "time" else distances
        return Walks(states, goals, costs, steps, arrived)

    def _rest_of(self, walks: Walks, first: Tensor) -> tuple[Tensor, Outcome]:
        """From step `first` (B,) on: states (B, H + 1, D), the last of which is repeated, and what became of them."""
        ahead = first[:, None] + torch.arange(self._steps + 1, device=first.device)  # (B, H + 1)
        rows = torch.arange(len(first), device=first.device)[:, None]
        states = walks.states[rows, ahead.clamp(max=self._steps)]
        costs = walks.costs[rows, ahead[:, :-1].clamp(max=self._steps - 1)]
        left = walks.steps - first
        counted = left.clamp(max=self.critic.config.steps)
        return states, Outcome(costs, counted, walks.arrived & (left == counted) & (counted > 0))

    def _noise_shape(self, plans: int) -> tuple[int, ...]:
        return noise_shape(self.config.planner, plans, self._numbers.count)


def _change(segments: Segments) -> Tensor:
    """Mean squared change of features in one step."""
    features = segments.columns["features"][:, :2].float()
    known = segments.mask[:, 1].to(features.dtype)
    changes = (features[:, 1] - features[:, 0]).square().mean(dim=-1)
    return ((changes * known).sum() / known.sum().clamp(min=1.0)).clamp(min=1e-12)
