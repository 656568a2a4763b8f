"""An environment in one file: a corridor, its exit at one end or the other, and a light that says where.

python -m pipeline.train corridor --allow-module tests.examples.corridor
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from actors.config import ENVIRONMENTS, EnvironmentConfig, EvaluationProtocol
from actors.envs.environment import Step
from actors.envs.state import pack, restore_generator, unpack
from learners.action_space import Discrete
from learners.catalogue import PRESETS, Preset, add_presets
from learners.config import FRAME_SIZE


class CorridorConfig(EnvironmentConfig):
    """Eight cells; reward 1 at the exit, −1 at the other end, an episode that takes too long is truncated."""

    kind: str = "corridor"
    max_steps: PositiveInt = 12

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {"environment": "corridor", "steps at most": self.max_steps}

    def build(self, seed: int, *, evaluation: bool = False) -> Corridor:
        return Corridor(self, seed)


class Corridor:
    """The agent starts in the middle; each step it goes one cell to the left or to the right."""

    action_space = Discrete(2)
    action_names = ("LEFT", "RIGHT")

    def __init__(self, config: CorridorConfig, seed: int) -> None:
        self._max_steps = config.max_steps
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._exit, self._cell, self._steps = 0, 4, 0

    def reset(self) -> NDArray[np.uint8]:
        self._exit, self._cell, self._steps = int(self._generator.integers(2)) * 7, 4, 0
        return self._draw()

    def step(self, action: int) -> Step:
        self.action_space.check(action)
        if self._cell in (0, 7) or self._steps == self._max_steps:
            raise RuntimeError("step() after the episode's end: call reset() first")
        self._cell += 2 * action - 1
        self._steps += 1
        has_left = self._cell in (0, 7)
        reward = (1.0 if self._cell == self._exit else -1.0) if has_left else 0.0
        return Step(
            self._draw(), reward, terminated=has_left, truncated=not has_left and self._steps == self._max_steps
        )

    def get_state(self) -> bytes:
        numbers = {"exit": self._exit, "cell": self._cell, "steps": self._steps}
        return pack("corridor", {**numbers, "drawn": self._generator.bit_generator.state})

    def set_state(self, state: bytes) -> None:
        fields = unpack("corridor", state, {"exit": int, "cell": int, "steps": int, "drawn": dict})
        self._exit, self._cell, self._steps = fields["exit"], fields["cell"], fields["steps"]
        self._generator = restore_generator(fields["drawn"])

    def _draw(self) -> NDArray[np.uint8]:
        """(3, 64, 64): the agent in the middle row, the light above it, on the side of the exit."""
        frame = np.zeros((3, FRAME_SIZE, FRAME_SIZE), np.uint8)
        frame[0, 24:40, self._cell * 8 : self._cell * 8 + 8] = 255
        frame[1, :16, : FRAME_SIZE // 2] = 255 * (self._exit == 0)
        frame[1, :16, FRAME_SIZE // 2 :] = 255 * (self._exit == 7)
        return frame


ENVIRONMENTS.register(CorridorConfig)
SETTINGS = {**PRESETS["debug"].settings, "env": {"kind": "corridor"}}
add_presets({"corridor": Preset("A corridor, with the tiny networks of `debug`.", SETTINGS)})
