"""Frames that show what moves: three moments in place of three colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actors.envs.environment import Environment, Step
from actors.envs.state import pack, unpack
from learners.action_space import Action, ActionSpace
from learners.config import FRAME_SIZE

MOMENTS = 3
_SHAPE = (MOMENTS, FRAME_SIZE, FRAME_SIZE)
_FIELDS = {"environment": bytes, "moments": np.ndarray}


class Moments:
    """An environment seen without colours: the channels of a frame are brightness two steps ago, one step ago, and now.

    An episode's first frame holds the same moment three times. Brightness is 0.299 red + 0.587 green + 0.114 blue
    (ITU-R BT.601), as Pillow rounds it. What rests is grey, what moves leaves a red and a green shadow.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._moments = np.zeros(_SHAPE, np.uint8)

    @property
    def action_space(self) -> ActionSpace:
        return self._environment.action_space

    @property
    def action_names(self) -> tuple[str, ...]:
        return self._environment.action_names

    def reset(self) -> NDArray[np.uint8]:
        """Starts the next episode; its first frame (3, 64, 64)."""
        self._moments = np.repeat(_brightness(self._environment.reset())[None], MOMENTS, axis=0)
        return self._moments

    def step(self, action: Action) -> Step:
        """Raises ValueError for an action outside `action_space`, RuntimeError after the episode's end."""
        step = self._environment.step(action)
        self._moments = np.concatenate([self._moments[1:], _brightness(step.frame)[None]])
        return replace(step, frame=self._moments)

    def get_state(self) -> bytes:
        return pack("moments", {"environment": self._environment.get_state(), "moments": self._moments})

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is not one of such an environment's."""
        fields = unpack("moments", state, _FIELDS)
        moments = fields["moments"]
        if moments.shape != _SHAPE or moments.dtype != np.uint8:
            raise ValueError(f"moments: found {moments.dtype} {moments.shape}, expected uint8 {_SHAPE}")
        self._environment.set_state(fields["environment"])
        self._moments = moments


def _brightness(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(3, 64, 64) → (64, 64)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))).convert("L"))
