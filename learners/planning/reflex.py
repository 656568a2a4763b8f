"""A reflex: what a plan would begin with, at once.

Planning (Mode-2) looks for actions; a reflex (Mode-1) is a network that was taught what planning finds. It acts alone,
or is where a plan begins to look.

Legend: B segments or environments, P blocks of a plan, r steps of each, D features, A numbers of an action.
Sources: LeCun (2022), A Path Towards Autonomous Machine Intelligence, §3.1.3; Ross, Gordon, Bagnell (2011), A
Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning: who learns to act must be taught
where that leads.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from learners.nn.mlp import mlp
from learners.part import Losses, mean
from learners.planning.config import PlannerConfig, ReflexConfig
from learners.planning.model import Predicts, with_goals
from learners.planning.numbers import Numbers, one_hot
from learners.planning.plan import Plan, Task
from learners.planning.search import noise_shape, search


class Reflex(nn.Module):
    """π(z, goal), or π(z) where nothing is aimed at."""

    def __init__(
        self, config: ReflexConfig, planner: PlannerConfig, features: int, numbers: Numbers, *, has_goals: bool
    ) -> None:
        """`planner` is the agent's, which the teacher is like."""
        super().__init__()
        self.config, self.has_goals = config, has_goals
        self.teacher = planner.model_copy(update={"kind": config.teacher, "guess": False})
        self._numbers = numbers
        self.layers = mlp(features * (1 + has_goals), config.hidden, numbers.count)

    @property
    def uniforms(self) -> int:
        """Of each segment, for how far it goes on by itself, for the plan, and for the outcomes of candidates."""
        return 1 + self._normals + prod(self._outcomes)

    @property
    def _normals(self) -> int:
        return prod(noise_shape(self.teacher, 1, self._numbers.count))

    @property
    def _outcomes(self) -> tuple[int, int]:
        """S and H of what is drawn: none where the likeliest is taken."""
        return self.teacher.outcomes if self.teacher.outcomes > 1 else 0, self.teacher.horizon

    def forward(self, features: Tensor, goals: Tensor | None = None) -> Tensor:
        """(B, A) of features (B, D) and goals (B, D): in half ranges, or odds of each action."""
        found = self.layers(with_goals(features, goals))
        return found.tanh() if self._numbers.is_box else found.softmax(dim=-1)

    @torch.no_grad()
    def plan(self, task: Task, goals: Tensor | None, blocks: int) -> Plan:
        """What it does in P = `blocks` blocks, one after another, as the model foresees."""
        features, found, odds = task.start, [], []
        for _ in range(blocks):
            odds.append(self(features, goals))
            found.append(self._block(odds[-1]))
            features = _after(task.model, features, found[-1], task.block_steps)
        chosen = torch.stack(found, dim=1)  # (B, P, A)
        return Plan(chosen, task.of(chosen.unsqueeze(1))[:, 0], torch.stack(odds, dim=1))

    def loss(self, task: Task, goals: Tensor | None, noise: Tensor) -> Losses:
        """Squared error of the first block of a plan by the teacher, or the cross-entropy of its action.

        It is taught where it gets to: from the task's start (B, D) it goes on by itself for 0 … `rollout` blocks, how
        many is uniform, before the plan is asked. Noise is (1, B, `uniforms`).
        """
        teacher, numbers = self.teacher, self._numbers
        with torch.no_grad():
            start, far = task.start, (noise[0, :, 0] * (self.config.rollout + 1)).long()
            for number in range(self.config.rollout):
                after = _after(task.model, start, self._block(self(start, goals)), task.block_steps)
                start = torch.where((number < far)[:, None], after, start)
            shape = noise_shape(teacher, len(start), numbers.count)  # (I, B, N, P, A)
            of_plan, of_outcomes = noise[0, :, 1:].split([self._normals, prod(self._outcomes)], dim=1)
            normal = torch.special.ndtri(of_plan.clamp(1e-6, 1.0 - 1e-6))
            normal = normal.unflatten(1, (shape[0], *shape[2:])).transpose(0, 1)
            drawn = of_outcomes.unflatten(1, self._outcomes) if self._outcomes[0] else None
            asked = Task(task.model, start, task.cost, task.block_steps, drawn, teacher.spread)
        blocks = search(asked, teacher, normal, choices=not numbers.is_box).blocks[:, 0].detach()  # (B, A)
        found = self.layers(with_goals(start, goals))
        if numbers.is_box:
            return Losses({"plans": mean((found.tanh() - blocks).square())}, {})
        chosen = blocks.argmax(dim=-1)
        loss = nn.functional.cross_entropy(found, chosen, reduction="none")
        return Losses({"plans": mean(loss)}, {"agreement": mean((found.argmax(dim=-1) == chosen).float()).value})

    def _block(self, odds: Tensor) -> Tensor:
        """What it does, (B, A): of several actions, the likeliest."""
        return odds if self._numbers.is_box else one_hot(odds.argmax(dim=-1), self._numbers.count)


def _after(model: Predicts, features: Tensor, block: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        features = model.predict(features, block)
    return features
