"""Catch: a ball falls down a board and the paddle in the bottom row must be under it.

Source: Mnih et al. (2014), Recurrent Models of Visual Attention; rules as in bsuite (Osband et al., 2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.config import CatchConfig
from actors.envs.environment import Step, check_step
from actors.envs.state import pack, restore_generator, unpack
from learners.action_space import Discrete
from learners.config import FRAME_SIZE

BALL = (255, 255, 0)
PADDLE = (0, 160, 255)
_FIELDS = {"rows": int, "columns": int, "ball": list, "paddle": int, "running": bool, "columns_drawn": dict}


class Catch:
    """One board.

    The ball starts in a uniformly drawn column of the top row, the paddle in the middle of the bottom row. In each step
    the paddle moves one column (not past the border), then the ball falls one row. With the ball in the bottom row the
    episode is terminated, after rows − 1 steps: reward 1 if the paddle is there, −1 if not; 0 before.
    """

    action_space = Discrete(3)
    action_names = ("LEFT", "STAY", "RIGHT")

    def __init__(self, config: CatchConfig, seed: int) -> None:
        self._rows, self._columns = config.rows, config.columns
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._ball = (0, 0)  # row from the top, column from the left
        self._paddle = 0
        self._running = False

    def reset(self) -> NDArray[np.uint8]:
        """Drops the next ball; the first frame (3, 64, 64)."""
        self._ball = (0, int(self._generator.integers(self._columns)))
        self._paddle = self._columns // 2
        self._running = True
        return self._draw()

    def step(self, action: int) -> Step:
        """Raises ValueError for an action outside 0..2, RuntimeError after the episode's end."""
        check_step(self, action, self._running)
        self._paddle = min(max(self._paddle + int(action) - 1, 0), self._columns - 1)
        row, column = self._ball
        self._ball = (row + 1, column)
        self._running = row + 1 < self._rows - 1
        reward = 0.0 if self._running else 1.0 if column == self._paddle else -1.0
        return Step(self._draw(), reward, terminated=not self._running, truncated=False)

    def get_state(self) -> bytes:
        return pack(
            "catch",
            {
                "rows": self._rows,
                "columns": self._columns,
                "ball": list(self._ball),
                "paddle": self._paddle,
                "running": self._running,
                "columns_drawn": self._generator.bit_generator.state,
            },
        )

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is not one of a board of this size."""
        fields = unpack("catch", state, _FIELDS)
        if (fields["rows"], fields["columns"]) != (self._rows, self._columns):
            raise ValueError(
                f"state of another board: found {fields['rows']} × {fields['columns']}, "
                f"expected {self._rows} × {self._columns}"
            )
        self._generator = restore_generator(fields["columns_drawn"])
        row, column = fields["ball"]
        self._ball = (row, column)
        self._paddle = fields["paddle"]
        self._running = fields["running"]

    def _draw(self) -> NDArray[np.uint8]:
        """(3, 64, 64), rows from the top; the ball hides the paddle."""
        frame = np.zeros((3, FRAME_SIZE, FRAME_SIZE), np.uint8)
        for (row, column), colour in (((self._rows - 1, self._paddle), PADDLE), (self._ball, BALL)):
            rows, columns = _pixels(row, self._rows), _pixels(column, self._columns)
            frame[:, rows, columns] = np.array(colour, np.uint8)[:, None, None]
        return frame


def _pixels(index: int, count: int) -> slice:
    """Pixels of cell `index` when FRAME_SIZE pixels are shared out among `count` cells."""
    return slice(index * FRAME_SIZE // count, (index + 1) * FRAME_SIZE // count)
