"""Quizzes as sequences of tokens: four grids, each behind a token that says which way the sequence reads.

Legend: N quizzes, H cells per side, L = 4 (1 + H²) tokens.
Source: Fleuret, culture.git.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from learners.quizzes.config import GridConfig
from learners.quizzes.tasks import Quizzes

Order = tuple[str, str, str, str]
FORWARD: Final[Order] = ("a", "fa", "b", "fb")
BACKWARD: Final[Order] = ("fb", "b", "fa", "a")
GRIDS = 4
Tokens = NDArray[np.uint8]
"""(N, L)."""


@dataclass(frozen=True)
class Layout:
    """What tokens are: 0 is white, then come the colours, then the two that begin every grid of a sequence."""

    size: int
    """H."""
    colours: int
    """Besides white."""

    @classmethod
    def of(cls, grid: GridConfig) -> Layout:
        return cls(grid.size, grid.colours)

    @property
    def cells(self) -> int:
        """H², of a grid."""
        return self.size**2

    @property
    def length(self) -> int:
        """L, of a sequence."""
        return GRIDS * (1 + self.cells)

    @property
    def vocabulary(self) -> int:
        return 1 + self.colours + 2

    def sign(self, order: Order) -> int:
        """The token that begins each grid."""
        return 1 + self.colours + (order != FORWARD)

    def encode(self, quizzes: Quizzes, order: Order) -> Tokens:
        """(N, L). Rows from top to bottom, each from left to right, in both orders."""
        count = len(quizzes.a)
        signs = np.full((count, 1), self.sign(order), np.uint8)
        grids = (getattr(quizzes, name).reshape(count, self.cells) for name in order)
        return np.concatenate([part for cells in grids for part in (signs, cells)], axis=1)

    def decode(self, tokens: Tokens, order: Order) -> Quizzes:
        """Of (N, L) tokens. Raises ValueError if they are not sequences in this order."""
        count = len(tokens)
        if tokens.shape != (count, self.length):
            raise ValueError(f"found tokens of shape {tokens.shape}, expected (N, {self.length})")
        parts = tokens.reshape(count, GRIDS, 1 + self.cells)
        signs, cells = parts[..., 0], parts[..., 1:].astype(np.uint8)
        if (signs != self.sign(order)).any() or (cells > self.colours).any():
            raise ValueError(f"found tokens that are no grids in the order {', '.join(order)}")
        grids = {name: cells[:, place].reshape(count, self.size, self.size) for place, name in enumerate(order)}
        return Quizzes(**grids)
