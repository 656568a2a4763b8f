"""Several environments side by side, the published way: all start an episode together, and none starts the next one
before every one has ended; one that ended waits.

Legend: B environments, frames (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.envs.environment import Step
from actors.envs.state import pack, unpack
from actors.envs.together import Environments
from learners.action_space import Action, Actions, ActionSpace
from learners.config import FRAME_SIZE

_KIND = "lockstep"
_FIELDS = {
    "running": np.ndarray,
    "frames": np.ndarray,
    "actions": np.ndarray,
    "episode_steps": np.ndarray,
    "round": int,
    "lengths": list,
}


class Lockstep:
    """The environments, which of them are within an episode, and the last steps of each."""

    def __init__(self, environments: Environments, action_space: ActionSpace, history: int) -> None:
        """`history`: how many steps before the current frame are remembered, for a burn-in."""
        self._environments = environments
        self._action_space = action_space
        size = len(environments)
        self.round = -1
        """Index of the running episode; all environments are in the same one."""
        self.running = np.zeros(size, dtype=np.bool_)  # (B,)
        self.frames = np.zeros((size, 3, FRAME_SIZE, FRAME_SIZE), dtype=np.uint8)  # (B, ...), the current ones
        self.episode_steps = np.zeros(size, dtype=np.int32)  # (B,) steps taken in the running episode
        self._history = history
        self._recent: list[deque[tuple[NDArray[np.uint8], Action]]] = [deque(maxlen=history) for _ in range(size)]

    def reset(self) -> None:
        """Starts the next episode everywhere."""
        self.round += 1
        for index, frame in self._environments.call("reset", {i: () for i in range(len(self._recent))}).items():
            self.frames[index] = frame
            self._recent[index].clear()
        self.running[:] = True
        self.episode_steps[:] = 0

    def step(self, actions: Mapping[int, Action]) -> dict[int, Step]:
        """One step of some running environments: what each of them, by its index, comes to under its action."""
        steps: dict[int, Step] = self._environments.call("step", {i: (action,) for i, action in actions.items()})
        for index, step in steps.items():
            self._recent[index].append((self.frames[index].copy(), actions[index]))
            self.frames[index] = step.frame
            self.episode_steps[index] += 1
            self.running[index] = not step.ended
        return steps

    def recent(self) -> tuple[NDArray[np.uint8], Actions, NDArray[np.bool_]]:
        """Up to T = `history` steps before the current frame in each running episode, padded on the left.

        Returns: frames (B, T, 3, 64, 64), actions (B, T) or (B, T, A), and mask (B, T), True where real.
        """
        shape = (len(self._environments), self._history)
        frames = np.zeros((*shape, *self.frames.shape[1:]), dtype=np.uint8)
        actions = np.zeros((*shape, *self._action_space.shape), dtype=self._action_space.dtype)
        mask = np.zeros(shape, dtype=np.bool_)
        for index, recent in enumerate(self._recent):
            for offset, (frame, action) in enumerate(reversed(recent if self.running[index] else ()), start=1):
                frames[index, -offset], actions[index, -offset], mask[index, -offset] = frame, action, True
        return frames, actions, mask

    def get_state(self) -> bytes:
        recent = [step for steps in self._recent for step in steps]
        fields: dict[str, Any] = {
            "round": self.round,
            "running": self.running,
            "frames": np.stack([*self.frames, *(frame for frame, _ in recent)]),
            "actions": self._action_space.stack([action for _, action in recent]),
            "episode_steps": self.episode_steps,
            "lengths": [len(steps) for steps in self._recent],
        }
        states = self._environments.call("get_state", {i: () for i in range(len(self._recent))})
        return pack(_KIND, {**fields, **{f"environment_{i}": state for i, state in states.items()}})

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is damaged or of other environments."""
        size = len(self._environments)
        names = [f"environment_{index}" for index in range(size)]
        fields = unpack(_KIND, state, {**_FIELDS, **dict.fromkeys(names, bytes)})
        lengths = fields["lengths"]
        if len(lengths) != size or not all(type(each) is int and 0 <= each <= self._history for each in lengths):
            raise ValueError(
                f"malformed {_KIND} state: found lengths {lengths!s:.80}, expected {size} numbers of steps"
            )
        steps = sum(lengths)
        expected = {
            "running": np.zeros(size, np.bool_),
            "episode_steps": np.zeros(size, np.int32),
            "frames": np.zeros((size + steps, *self.frames.shape[1:]), np.uint8),
            "actions": np.zeros((steps, *self._action_space.shape), self._action_space.dtype),
        }
        for name, like in expected.items():
            if (found := fields[name]).shape != like.shape or found.dtype != like.dtype:
                words = f"found {name} {found.dtype} {found.shape}, expected {like.dtype} {like.shape}"
                raise ValueError(f"malformed {_KIND} state: {words}")
        for action in (actions := self._action_space.unstack(fields["actions"])):
            self._action_space.check(action)
        self._environments.call("set_state", {i: (fields[name],) for i, name in enumerate(names)})
        self.round = fields["round"]
        self.running[:] = fields["running"]
        self.episode_steps[:] = fields["episode_steps"]
        self.frames[:] = fields["frames"][:size]
        remaining = zip(fields["frames"][size:], actions, strict=True)
        for recent, length in zip(self._recent, fields["lengths"], strict=True):
            recent.clear()
            recent.extend(next(remaining) for _ in range(length))
