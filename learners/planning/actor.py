"""An actor that plans; without the goal that it should go to it wanders, so that it meets everything.

Legend: B environments, D features, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learners.action_space import Actions
from learners.algorithm import Thought
from learners.planning.config import PlannerConfig
from learners.planning.cost import Costs
from learners.planning.model import LatentModel, imagine
from learners.planning.numbers import Numbers
from learners.planning.plan import Plan, Task
from learners.planning.reflex import Reflex
from learners.planning.search import noise_shape, search
from learners.planning.upper import Course, UpperPlanner


@dataclass(frozen=True)
class Memory:
    """Of running episodes."""

    last: NDArray[np.float32]  # (B, A) numbers of the last action; nan before the first
    frames: NDArray[np.uint8]  # (B, 3, 64, 64) that it was taken on; of 0 before
    goal: Tensor | None = None  # (B, D)
    plan: Plan | None = None
    done: int = 0
    """Steps of the plan that are done."""
    course: Course | None = None
    """Of the upper level, where there are two."""
    plans: int = 0
    """That were made on this course."""


class PlanningActor:
    history = 1

    def __init__(
        self,
        model: LatentModel,
        planner: PlannerConfig,
        costs: Costs,
        numbers: Numbers,
        *,
        turn: float,
        reflex: Reflex | None = None,
        upper: UpperPlanner | None = None,
    ) -> None:
        """
        Args:
            model: a module, too: it is where its weights are.
            turn: standard deviation of a change of direction where there is no goal, in radians.
            reflex: what `planner` asks, if it does.
            upper: who sets its goals, if `planner` has two levels.
        """
        assert reflex or not planner.asks_reflex
        assert upper or planner.levels == 1
        self._model = model
        self._planner = planner
        self._costs = costs
        self._numbers = numbers
        self._turn = turn
        self._reflex = reflex if planner.asks_reflex else None
        self._upper = upper if planner.levels == 2 else None

    def initial_state(self, batch_size: int) -> Memory:
        return Memory(
            np.full((batch_size, self._numbers.count), np.nan, np.float32), np.zeros((batch_size, 3, 64, 64), np.uint8)
        )

    def burn_in(self, frames: NDArray[np.uint8], actions: Actions, mask: NDArray[np.bool_]) -> Memory:
        last = self._numbers.of(torch.from_numpy(actions[:, -1])).numpy()
        last = np.where(mask[:, -1:], last, np.float32(np.nan))
        return Memory(last, frames[:, -1].copy())

    @torch.no_grad()
    def aim(self, state: Memory, goals: NDArray[np.uint8]) -> Memory:
        """Goes for frames (B, 3, 64, 64) from now on, if a cost is of goals."""
        if not self._costs.aims:
            return state
        return replace(self.anew(state), goal=self._encode(goals))

    def anew(self, state: Memory) -> Memory:
        """The same with no plan yet: what another actor was about does not bind this one."""
        goal = state.goal if self._costs.aims else None
        return replace(state, goal=goal, plan=None, done=0, course=None, plans=0)

    def act(
        self, frames: NDArray[np.uint8], state: Memory, generator: np.random.Generator, *, temperature: float
    ) -> tuple[Actions, Memory]:
        """The temperature is not applied: a plan is the best that was found."""
        if state.goal is None and self._costs.aims:
            return self._wander(frames, state, generator)
        plan, state = self._go_on(lambda: self._encode(frames), len(frames), state, generator)
        return self._numbers.actions(plan.blocks[:, (state.done - 1) // self._planner.block_steps]), state

    def burn_in_on(self, features: Tensor, mask: Tensor) -> Memory:
        """Plans only look ahead."""
        return self.initial_state(len(features))

    def think(self, features: Tensor, state: Memory, generator: np.random.Generator, *, temperature: float) -> Thought:
        """Odds are those that the next plan is drawn from, the value is minus the cost of this one.

        Raises ValueError if it has nothing to go for.
        """
        if state.goal is None and self._costs.aims:
            raise ValueError("found no goal, expected one: call aim() first")
        plan, state = self._go_on(lambda: features, len(features), state, generator)
        block, steps = (state.done - 1) // self._planner.block_steps, self._planner.block_steps
        numbers = plan.blocks[:, block]
        left = plan.blocks.repeat_interleave(steps, dim=1)[:, state.done - 1 :]  # (B, H, A)
        with torch.no_grad():
            foreseen = imagine(self._model, features, left.unsqueeze(1))[:, 0, 1:]
        odds = None if self._numbers.is_box else plan.odds[:, block]
        beyond = None if state.course is None else state.course.foreseen
        return Thought(self._numbers.actions(numbers), state, odds, -plan.cost, foreseen, beyond)

    @torch.no_grad()
    def costs_of(self, features: Tensor, state: Memory) -> dict[str, Tensor]:
        """(B,) each: what the rest of its plan costs from features (B, D) on, by term, with the state after `think`.

        Foreseen is the likeliest outcome; zones and what is to come after the last step count among the terms.
        """
        assert state.plan is not None
        left = state.plan.blocks.repeat_interleave(self._planner.block_steps, dim=1)[:, None, state.done - 1 :]
        foreseen = imagine(self._model, features, left)  # (B, 1, H + 1, D)
        goal = state.goal if state.course is None else state.course.subgoal
        return {
            name: alone.to(goal, self._planner.objective)(foreseen, left)[:, 0]
            for name, alone in self._costs.apart().items()
        }

    @torch.no_grad()
    def _go_on(
        self, encode: Callable[[], Tensor], size: int, state: Memory, generator: np.random.Generator
    ) -> tuple[Plan, Memory]:
        """One step on in the plan, or in a new one from what `encode` sees."""
        settings = self._planner
        # As much is drawn as a new plan takes, in every step.
        noise = generator.standard_normal(noise_shape(settings, size, self._numbers.count), dtype=np.float32)
        shape = (0,) if self._upper is None else self._upper.noise_shape(size)
        of_upper = generator.standard_normal(shape, dtype=np.float32)
        outcomes = settings.outcomes if settings.outcomes > 1 else 0
        drawn = generator.random((size, outcomes, settings.horizon), dtype=np.float32)
        plan, done = state.plan, state.done
        if plan is None or done >= settings.execute * settings.block_steps:
            warm, start, done = plan and plan.shifted(settings.execute), encode(), 0
            goal = state.goal
            if self._upper is not None:
                state = self._set_course(self._upper, start, state, of_upper)
                assert state.course is not None
                goal = state.course.subgoal
            cost = self._costs.to(goal, settings.objective)
            uniforms = torch.from_numpy(drawn).to(start.device) if outcomes else None
            task = Task(self._model, start, cost, settings.block_steps, uniforms, settings.spread)
            if self._reflex is not None:
                warm = self._reflex.plan(task, goal, settings.blocks)
            if settings.kind == "reflex":
                assert warm is not None
                plan = warm.check()
            else:
                choices = not self._numbers.is_box
                noise = torch.from_numpy(noise).to(start.device)
                plan = search(task, settings, noise, warm, choices=choices).check()
            if uniforms is not None:
                plan = replace(plan, doubt=task.outcomes_of(plan.blocks.unsqueeze(1), uniforms)[1][:, 0])
        return plan, replace(state, plan=plan, done=done + 1)

    def _set_course(self, upper: UpperPlanner, start: Tensor, state: Memory, noise: NDArray[np.float32]) -> Memory:
        """For one more plan, on the last course while that holds."""
        assert state.goal is not None
        if state.course is not None and state.plans < upper.config.every:
            return replace(state, plans=state.plans + 1)
        course = upper.plan(start, state.goal, torch.from_numpy(noise).to(start.device))
        return replace(state, course=course, plans=1)

    def _wander(
        self, frames: NDArray[np.uint8], state: Memory, generator: np.random.Generator
    ) -> tuple[Actions, Memory]:
        """Keeps its direction but for a little, and a new one where it is stuck; strides of √U.

        In a box of other than two numbers, and of one of several actions, all are uniform.
        """
        size = (len(frames), self._numbers.count)
        fresh, turn = generator.uniform(-np.pi, np.pi, len(frames)), generator.normal(0.0, self._turn, len(frames))
        length, uniform = np.sqrt(generator.random(len(frames))), generator.uniform(-1.0, 1.0, size)
        if self._numbers.count == 2 and self._numbers.is_box:
            is_stuck = (frames == state.frames).all(axis=(1, 2, 3)) | np.isnan(state.last).any(axis=1)
            angle = np.where(is_stuck, fresh, np.arctan2(state.last[:, 1], state.last[:, 0]) + turn)
            uniform = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)
        numbers = uniform.astype(np.float32)
        return self._numbers.actions(torch.from_numpy(numbers)), replace(state, last=numbers, frames=frames.copy())

    def _encode(self, frames: NDArray[np.uint8]) -> Tensor:
        assert isinstance(self._model, nn.Module)
        return self._model.encode(torch.from_numpy(frames).to(next(self._model.parameters()).device))
