"""What an agent can do in each step: one of several actions, or a few numbers within bounds.

Legend: B environments, A numbers of an action in a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from learners.errors import AlgorithmError

Action = Any
"""Of one environment: an int of `Discrete`, or an array (A,) float32 of `Box`."""
Actions = NDArray[Any]
"""Of several: (B,) integers, or (B, A) float32."""


@dataclass(frozen=True)
class Discrete:
    """One of `count` actions, numbered from 0."""

    count: int
    shape: ClassVar[tuple[int, ...]] = ()
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.int32)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"found {self.count} actions, expected at least 1")

    def __str__(self) -> str:
        return f"one of {self.count} actions"

    def sample(self, generator: np.random.Generator, size: int | tuple[int, ...]) -> Actions:
        """Uniformly random ones: (*size,) int64."""
        return generator.integers(self.count, size=size)

    def check(self, action: Action) -> None:
        """Raises ValueError, in one line, for anything but an action of this space."""
        if np.ndim(action) or not 0 <= action < self.count:
            raise ValueError(f"unknown action: found {action}, expected 0..{self.count - 1}")

    def unstack(self, actions: Actions) -> list[Action]:
        """Actions (B,), one by one."""
        return actions.tolist()

    def stack(self, actions: Sequence[Action]) -> Actions:
        """(B,) int32 of actions one by one; there may be none."""
        return np.array(actions, self.dtype)


@dataclass(frozen=True)
class Box:
    """A numbers, each within bounds of its own, which belong to it; they are held as float32."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    def __post_init__(self) -> None:
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        if low.shape != high.shape or low.ndim != 1 or not len(low):
            raise ValueError(f"found bounds of the shapes {low.shape} and {high.shape}, expected (A,) for both")
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(f"found the bounds {self.low} and {self.high}, expected finite ones, low below high")
        object.__setattr__(self, "low", tuple(low.tolist()))
        object.__setattr__(self, "high", tuple(high.tolist()))

    def __str__(self) -> str:
        low, high = (", ".join(f"{number:g}" for number in bound) for bound in (self.low, self.high))
        return f"{len(self.low)} numbers from ({low}) to ({high})"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.low),)

    @property
    def middle(self) -> Action:
        """(A,) float32."""
        return np.array(self.low, np.float32) / 2 + np.array(self.high, np.float32) / 2

    def sample(self, generator: np.random.Generator, size: int | tuple[int, ...]) -> Actions:
        """Uniformly random ones: (*size, A) float32."""
        size = (size,) if isinstance(size, int) else size
        return generator.uniform(self.low, self.high, (*size, *self.shape)).astype(np.float32)

    def check(self, action: Action) -> None:
        """Raises ValueError, in one line, for anything but an action of this space: NaN is none."""
        found = np.asarray(action)
        is_inside = found.shape == self.shape and found.dtype == self.dtype
        if not (is_inside and (found >= self.low).all() and (found <= self.high).all()):
            words = f"{found.dtype} {np.array2string(found, threshold=8, separator=', ')}"
            raise ValueError(f"unknown action: found {' '.join(words.split())}, expected float32, {self}")

    def unstack(self, actions: Actions) -> list[Action]:
        """Actions (B, A), one by one: (A,) each."""
        return list(actions)

    def stack(self, actions: Sequence[Action]) -> Actions:
        """(B, A) float32 of actions one by one; there may be none."""
        return np.array(actions, self.dtype).reshape(-1, *self.shape)


ActionSpace = Discrete | Box


def num_actions_of(space: ActionSpace, who: str) -> int:
    """For an algorithm, `who`, that chooses one of several actions. Raises AlgorithmError, in one line, for a box."""
    if isinstance(space, Discrete):
        return space.count
    raise AlgorithmError(f"{who}: found actions of {space}, expected one of several actions")
