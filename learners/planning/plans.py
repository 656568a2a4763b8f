"""What an algorithm offers that can plan in several ways with one world model, beside acting as it is configured to.

Legend: D features.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from learners.planning.actor import PlanningActor
from learners.planning.config import CostConfig, PlannerConfig
from learners.planning.critic import Critic


@runtime_checkable
class Plans(Protocol):
    planner: PlannerConfig
    """By which it acts."""
    cost: CostConfig

    critic: Critic | None
    """What it expects after the last predicted step, if it has learnt that."""

    tells_places: bool
    """Whether `places_in` and `place` can be asked."""

    def planning_actor(self, planner: PlannerConfig, cost: CostConfig) -> PlanningActor:
        """Raises AlgorithmError, in one line, if it cannot plan so."""
        ...

    def observe(self, frames: Tensor) -> Tensor:
        """Features (M, D) of frames (M, 3, 64, 64) uint8."""
        ...

    def foresee(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Features (M, D) one step after features (M, D) under actions (M,), in a box (M, A): the likeliest, or with
        uniforms (M,) drawn ones where there are several."""
        ...

    def render(self, features: Tensor) -> Tensor:
        """Frames (M, 3, 64, 64) uint8 that show features (M, D)."""
        ...

    def places_in(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(x, y) in pixels (..., 2) of what zones keep it out of, in frames (..., 3, 64, 64), and whether it is there
        (...)."""
        ...

    def place(self, features: Tensor) -> Tensor:
        """The same, as features (..., D) tell it."""
        ...
