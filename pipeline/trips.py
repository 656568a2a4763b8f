"""Trips: episodes that are played side by side, to goals where there are any, and all that is to be seen of them.

Legend: E episodes, T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from actors.envs.environment import Environment, HasGoal
from learners.action_space import Actions, ActionSpace, Box
from learners.planning.actor import PlanningActor
from learners.planning.place import depth_in
from learners.planning.plans import Plans

Frames = NDArray[np.uint8]
Act = Callable[[Frames], Actions]
"""Actions (E,), in a box (E, A), for frames (E, 3, 64, 64); those of episodes that have ended are not done."""


@dataclass
class Trips:
    """E episodes from their first frames on."""

    environments: Sequence[Environment]
    frames: list[list[Frames]]
    goals: list[Frames]
    """None where the game has no goals."""
    scores: NDArray[np.float64]  # (E,)
    seconds: float = 0.0
    """Of acting, all episodes together; the environments are left out."""

    @classmethod
    def begin(cls, environments: Sequence[Environment]) -> Trips:
        frames = [[environment.reset()] for environment in environments]
        found = [environment.goal() if isinstance(environment, HasGoal) else None for environment in environments]
        goals = [goal for goal in found if goal is not None]
        return cls(environments, frames, goals if len(goals) == len(found) else [], np.zeros(len(frames)))

    def play(self, act: Act) -> None:
        """All of them to their ends."""
        running = set(range(len(self.environments)))
        while running:
            started = time.perf_counter()
            actions = act(np.stack([frames[-1] for frames in self.frames]))
            self.seconds += time.perf_counter() - started
            chosen = self.environments[0].action_space.unstack(actions)
            for index in sorted(running):
                step = self.environments[index].step(chosen[index])
                self.frames[index].append(step.frame)
                self.scores[index] += step.reward
                running -= {index} if step.ended else set()

    @property
    def steps(self) -> NDArray[np.int64]:
        """(E,)."""
        return np.array([len(frames) - 1 for frames in self.frames])

    def trails(self, zones: Sequence[float] = ()) -> list[Frames]:
        """All frames of an episode over each other: what is bright in one was bright at some time. A goal is there in
        other colours, the edges of zones in blue."""
        trails = [np.max(frames, axis=0) for frames in self.frames]
        for trail, goal in zip(trails, self.goals, strict=False):
            np.maximum(trail, np.roll(goal, 1, axis=0), out=trail)
        for trail in trails if zones else ():
            y, x = np.indices(trail.shape[1:])
            depths = depth_in(zones, torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32)))
            trail[2][(depths.abs() < 0.6).numpy()] = 255
        return trails

    def steps_in(self, zones: Sequence[float], algorithm: Plans) -> float:
        """Steps an episode, in the mean, whose frame shows what zones keep out in one of them."""
        inside = 0
        for frames in self.frames:
            places, is_there = algorithm.places_in(torch.from_numpy(np.stack(frames[1:])))
            inside += int(((depth_in(zones, places) > 0) & is_there).sum())
        return inside / len(self.frames)


class Planner:
    """Acts by plans, and remembers what they foresaw."""

    def __init__(self, algorithm: Plans, actor: PlanningActor, trips: Trips, generator: np.random.Generator) -> None:
        self._algorithm = algorithm
        self._actor = actor
        self._generator = generator
        self._state = actor.initial_state(len(trips.environments))
        if trips.goals:
            self._state = actor.aim(self._state, np.stack(trips.goals))
        self.foreseen: list[torch.Tensor] = []
        """Of each step (E, D): features after it."""
        self.plans: list[torch.Tensor] = []
        """Of each step (H, D): features after the steps of the first episode's plan."""
        self.courses: list[torch.Tensor] = []
        """The same after the strides of its upper level (P, D), where it has one."""

    def __call__(self, frames: Frames) -> Actions:
        with torch.no_grad():
            features = self._algorithm.observe(torch.from_numpy(frames))
        thought = self._actor.think(features, self._state, self._generator, temperature=1.0)
        assert thought.foreseen is not None
        self._state = thought.state
        self.foreseen.append(thought.foreseen[:, 0])
        self.plans.append(thought.foreseen[0])
        self.courses += [] if thought.beyond is None else [thought.beyond[0]]
        return thought.actions

    @torch.no_grad()
    def steps_in(self, zones: Sequence[float], steps: NDArray[np.int64]) -> float:
        """Steps an episode, in the mean, that it foresaw to end in a zone; of steps (E,) that were taken."""
        depths = depth_in(zones, self._algorithm.place(torch.stack(self.foreseen)))  # (T, E)
        taken = torch.arange(len(depths))[:, None] < torch.from_numpy(steps)
        return float(((depths > 0) & taken).sum() / len(steps))


def random_play(space: ActionSpace, generator: np.random.Generator) -> Act:
    return lambda frames: space.sample(generator, len(frames))


def standing_still(space: Box) -> Act:
    """The middle of a box."""
    return lambda frames: np.stack([space.middle] * len(frames))
