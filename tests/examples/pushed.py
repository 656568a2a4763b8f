"""An environment whose actions are numbers: a dot that is pushed towards the middle.

python -m pipeline.train pushed --allow-module tests.examples.pushed tests.examples.latent_shooting
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from actors.config import ENVIRONMENTS, EnvironmentConfig, EvaluationProtocol
from actors.envs.environment import Step, check_step
from actors.envs.state import pack, restore_generator, unpack
from learners.action_space import Action, Box
from learners.catalogue import Preset, add_presets
from learners.config import FRAME_SIZE
from tests.examples.latent_shooting import PRESETS


class PushedConfig(EnvironmentConfig):
    """A square of side 2; each step's reward is minus the dot's distance from the middle."""

    kind: str = "pushed"
    max_steps: PositiveInt = 10

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {"environment": "pushed", "steps at most": self.max_steps}

    def build(self, seed: int, *, evaluation: bool = False) -> Pushed:
        return Pushed(self, seed)


class Pushed:
    """An action moves the dot, at most to the edge: right and down, up to a quarter of the square's side each."""

    action_space = Box((-0.5, -0.5), (0.5, 0.5))
    action_names = ("RIGHT", "DOWN")

    def __init__(self, config: PushedConfig, seed: int) -> None:
        self._max_steps = config.max_steps
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._place, self._steps = np.zeros(2), self._max_steps

    def reset(self) -> NDArray[np.uint8]:
        self._place, self._steps = self._generator.uniform(-1.0, 1.0, 2), 0
        return self._draw()

    def step(self, action: Action) -> Step:
        check_step(self, action, self._steps < self._max_steps)
        self._place = (self._place + action).clip(-1.0, 1.0)
        self._steps += 1
        distance = float(np.hypot(*self._place))
        return Step(self._draw(), -distance, terminated=False, truncated=self._steps == self._max_steps)

    def get_state(self) -> bytes:
        drawn = self._generator.bit_generator.state
        return pack("pushed", {"place": self._place, "steps": self._steps, "drawn": drawn})

    def set_state(self, state: bytes) -> None:
        fields = unpack("pushed", state, {"place": np.ndarray, "steps": int, "drawn": dict})
        self._place, self._steps = fields["place"], fields["steps"]
        self._generator = restore_generator(fields["drawn"])

    def _draw(self) -> NDArray[np.uint8]:
        """(3, 64, 64): the dot, eight pixels wide."""
        frame = np.zeros((3, FRAME_SIZE, FRAME_SIZE), np.uint8)
        left, top = (round((FRAME_SIZE - 8) * (1.0 + x) / 2) for x in self._place.tolist())
        frame[:, top : top + 8, left : left + 8] = 255
        return frame


ENVIRONMENTS.register(PushedConfig)
SETTINGS = {**PRESETS["latent-shooting"].settings, "env": {"kind": "pushed"}}
add_presets({"pushed": Preset("A dot pushed by numbers, shooting with a model of what they earn.", SETTINGS)})
