"""What every environment offers, whatever is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from learners.action_space import Action, ActionSpace


@dataclass(frozen=True)
class Step:
    """Outcome of one agent step."""

    frame: NDArray[np.uint8]  # (3, 64, 64), what the agent sees next; meaningless once the episode ended
    reward: float  # in the game's own units, not clipped
    terminated: bool  # a real end: death, game over, life loss
    truncated: bool  # ran into a limit
    achievements: Mapping[str, int] = field(default_factory=dict)
    """How often each was reached in this episode so far; empty in games that count none."""

    @property
    def ended(self) -> bool:
        return self.terminated or self.truncated


class Environment(Protocol):
    """One game. Deterministic: (seed, actions) fix every frame; all randomness is part of the state."""

    @property
    def action_space(self) -> ActionSpace: ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of each action; in a box, of each number of one."""
        ...

    def reset(self) -> NDArray[np.uint8]:
        """Starts the next episode; its first frame (3, 64, 64)."""
        ...

    def step(self, action: Action) -> Step:
        """Raises ValueError for an action outside `action_space`, RuntimeError after the episode's end."""
        ...

    def get_state(self) -> bytes:
        """The exact state, without pickle: a new process that restores it goes on identically."""
        ...

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is not one of this environment's."""
        ...


@runtime_checkable
class HasGoal(Protocol):
    """What an environment offers beside this whose episodes, played for a score, have a goal that is seen."""

    def goal(self) -> NDArray[np.uint8] | None:
        """What the agent sees, (3, 64, 64), where the running episode's goal is reached; None if it has none."""
        ...


@runtime_checkable
class PlacesGoals(HasGoal, Protocol):
    """One whose goals somebody else may choose."""

    def place_goal(self, x: float, y: float) -> NDArray[np.uint8]:
        """The running episode's from now on is at (x, y), in pixels of a frame: `goal`. Raises ValueError where none
        can be."""
        ...


def check_step(env: Environment, action: Action, running: bool) -> None:
    """Raises RuntimeError if no episode is running, ValueError for an action outside `action_space`."""
    if not running:
        raise RuntimeError("step() after the episode's end: call reset() first")
    env.action_space.check(action)


def channels_first(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(64, 64, 3) → (3, 64, 64), a contiguous copy."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1))
