"""A game of random frames, for machines without the packages of the real ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.envs.environment import Step, check_step
from actors.envs.state import pack, restore_generator, unpack
from benchmarks.synthetic import ACTION_SPACE, EPISODE_STEPS
from learners.config import FRAME_SIZE, Config

_FIELDS = {"steps": int, "running": bool, "drawn": dict}


class SyntheticConfig(Config):
    def build(self, seed: int, *, evaluation: bool = False) -> SyntheticEnvironment:
        return SyntheticEnvironment(seed)


class SyntheticEnvironment:
    """Episodes of 100 steps, uniformly random frames, reward 0; actions change nothing."""

    action_space = ACTION_SPACE
    action_names = tuple(f"ACTION_{index}" for index in range(ACTION_SPACE.count))

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._steps = 0
        self._running = False

    def reset(self) -> NDArray[np.uint8]:
        self._steps = 0
        self._running = True
        return self._draw()

    def step(self, action: int) -> Step:
        """Raises ValueError for an action outside `action_space`, RuntimeError after the episode's end."""
        check_step(self, action, self._running)
        self._steps += 1
        self._running = self._steps < EPISODE_STEPS
        return Step(self._draw(), 0.0, terminated=not self._running, truncated=False)

    def get_state(self) -> bytes:
        drawn = self._generator.bit_generator.state
        return pack("synthetic", {"steps": self._steps, "running": self._running, "drawn": drawn})

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is not one of this game."""
        fields = unpack("synthetic", state, _FIELDS)
        self._generator = restore_generator(fields["drawn"])
        self._steps, self._running = fields["steps"], fields["running"]

    def _draw(self) -> NDArray[np.uint8]:
        return self._generator.integers(256, size=(3, FRAME_SIZE, FRAME_SIZE), dtype=np.uint8)
