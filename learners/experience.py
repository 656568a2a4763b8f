"""What the environments leave behind: chunks of consecutive steps.

Legend: N steps, frames (3, 64, 64) uint8. Step t holds the frame seen before acting, the action, its reward and whether
the episode ended with it; the frame after an episode's last action is not kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive steps of one environment within one iteration; it may span several episodes.

    (iteration, environment, start) orders all chunks of a run, and with the count names them.
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
    actions: NDArray[np.int32]  # (N,)
    rewards: NDArray[np.float32]  # (N,), in the game's own units
    terminated: NDArray[np.bool_]  # (N,) a real end: death, game over, life loss
    truncated: NDArray[np.bool_]  # (N,) ran into a limit
    episodes: NDArray[np.int64]  # (N,) unique within the run, growing within an environment
    episode_steps: NDArray[np.int32]  # (N,) step within its episode, from 0

    def __len__(self) -> int:
        return len(self.actions)
