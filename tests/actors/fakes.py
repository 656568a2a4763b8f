"""Environments whose every frame, reward and end is known in advance."""

import numpy as np
from numpy.typing import NDArray

from actors.envs.environment import Step
from learners.action_space import Discrete


class Countdown:
    """Episode n of environment e lasts `lengths[n]` steps; frame k is filled with 50·e + 10·n + k, its reward is k + 1.
    A step is an achievement.

    Its only state is where it stands, so it also counts how often it was reset.
    """

    action_space = Discrete(3)
    action_names = ("a", "b", "c")

    def __init__(self, index: int, lengths: tuple[int, ...]) -> None:
        self._index = index
        self._lengths = lengths
        self.episode = -1
        self.step_in_episode = 0

    def reset(self) -> NDArray[np.uint8]:
        self.episode += 1
        self.step_in_episode = 0
        return self._frame()

    def step(self, action: int) -> Step:
        self.step_in_episode += 1
        ended = self.step_in_episode == self._lengths[self.episode]
        return Step(self._frame(), float(self.step_in_episode), ended, False, {"steps": self.step_in_episode})

    def get_state(self) -> bytes:
        return bytes([self.episode + 1, self.step_in_episode])

    def set_state(self, state: bytes) -> None:
        self.episode, self.step_in_episode = state[0] - 1, state[1]

    def _frame(self) -> NDArray[np.uint8]:
        value = 50 * self._index + 10 * self.episode + self.step_in_episode
        return np.full((3, 64, 64), value, dtype=np.uint8)
