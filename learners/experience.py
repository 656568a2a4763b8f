"""What the environments leave behind: chunks of consecutive steps, and the columns of a step, said once.

Legend: N steps. Step t holds the frame seen before acting, the action, its reward and whether the episode ended with
it; the frame after an episode's last action is not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from learners.action_space import Actions, Discrete
from learners.config import FRAME_SIZE

FRAME_SHAPE: Final = (3, FRAME_SIZE, FRAME_SIZE)
COLUMNS: Final[dict[str, tuple[DTypeLike, tuple[int, ...]]]] = {
    "frames": (np.uint8, FRAME_SHAPE),
    "actions": (Discrete.dtype, Discrete.shape),
    "rewards": (np.float32, ()),
    "terminated": (np.bool_, ()),
    "truncated": (np.bool_, ()),
    "episodes": (np.int64, ()),
    "episode_steps": (np.int32, ()),
}
"""Type and shape of what a chunk holds of every step; actions in a box are float32 (A,)."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive steps of one environment within one iteration; it may span several episodes.

    (iteration, environment, start) orders all chunks of a run: its logical order.
    """

    iteration: int
    """1-based."""
    environment: int
    """Index of the environment within the run."""
    start: int
    """How many steps this environment had taken in this iteration before the chunk."""
    policy_version: int
    """Iteration whose weights acted (0: initial weights)."""
    frames: NDArray[np.uint8]  # (N, 3, 64, 64)
    actions: Actions  # (N,) int32, or (N, A) float32
    rewards: NDArray[np.float32]  # (N,), in the game's own units
    terminated: NDArray[np.bool_]  # (N,) a real end: death, game over, life loss
    truncated: NDArray[np.bool_]  # (N,) ran into a limit
    episodes: NDArray[np.int64]  # (N,) unique within the run, growing within an environment
    episode_steps: NDArray[np.int32]  # (N,) step within its episode, from 0

    def __len__(self) -> int:
        return len(self.actions)

    def __str__(self) -> str:
        return f"chunk of iteration {self.iteration}, environment {self.environment}, start {self.start}"

    @property
    def num_episodes(self) -> int:
        """Episodes that begin in it."""
        return int(np.count_nonzero(self.episode_steps == 0))

    def logical_bytes(self) -> bytes:
        """The content, a fixed number of bytes per step: those of two chunks in a row are those of their union."""
        steps = np.zeros(len(self), _logical(self.actions.dtype, self.actions.shape[1:]))
        steps["iteration"], steps["environment"] = self.iteration, self.environment
        steps["step"] = self.start + np.arange(len(self))
        for name in COLUMNS:
            steps[name] = getattr(self, name)
        return steps.tobytes()

    def check(self, *, without_frames: bool = False) -> None:
        """Raises ValueError, in one line with found and expected, unless the chunk is well formed.

        Well formed: exact types and shapes, at least one step, finite numbers; within an episode steps count up by one
        and nothing follows its end; a later episode has a greater id and begins at step 0.
        """
        if self.iteration < 1 or min(self.environment, self.start, self.policy_version) < 0:
            raise ValueError(f"{self}: expected iteration >= 1 and nothing negative")
        if not len(self):
            raise ValueError(f"{self}: found 0 steps, expected at least 1")
        for name, (dtype, shape) in COLUMNS.items():
            found = getattr(self, name)
            if name == "actions" and found.dtype == np.float32 and found.ndim == 2:
                dtype, shape = np.float32, found.shape[1:]
            expected = (0 if name == "frames" and without_frames else len(self), *shape)
            if found.dtype != dtype or found.shape != expected:
                words = f"{found.dtype} {found.shape}, expected {np.dtype(dtype)} {expected}"
                raise ValueError(f"{self}: {name} is {words}")
        for name, column in (("reward", self.rewards), ("action", self.actions)):
            if not np.isfinite(column).all():
                step = int(np.argwhere(~np.isfinite(column))[0, 0])
                raise ValueError(f"{self}: {name} {step} is {column[step]}, expected finite numbers")
        self._check_episodes()

    def _check_episodes(self) -> None:
        if self.episodes[0] < 0 or self.episode_steps[0] < 0:
            raise ValueError(f"{self}: episode ids and steps count from 0")
        same = np.diff(self.episodes) == 0
        ended = (self.terminated | self.truncated)[:-1]
        counts_up = (np.diff(self.episode_steps) == 1) & ~ended
        begins = (np.diff(self.episodes) > 0) & (self.episode_steps[1:] == 0)
        broken = np.flatnonzero(~np.where(same, counts_up, begins))
        if len(broken):
            step = int(broken[0])
            before, after = (f"episode {self.episodes[i]} step {self.episode_steps[i]}" for i in (step, step + 1))
            end = ", where it ended," if ended[step] else ""
            raise ValueError(f"{self}: {before}{end} is followed by {after}")


@cache
def _logical(actions: np.dtype[Any], shape: tuple[int, ...]) -> np.dtype[Any]:
    """Of one step with actions of this type and shape."""
    return np.dtype(
        [
            ("iteration", "<i8"),
            ("environment", "<i8"),
            ("step", "<i8"),
            ("episodes", "<i8"),
            ("episode_steps", "<i4"),
            ("actions", actions.newbyteorder("<"), shape),
            ("rewards", "<f4"),
            ("terminated", "u1"),
            ("truncated", "u1"),
            ("frames", "u1", FRAME_SHAPE),
        ]
    )
