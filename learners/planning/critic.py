"""A critic: what is still to come after the last predicted step, learnt from what was lived through.

The intrinsic cost of a plan sees as far as the plan does; a critic sees on from there, so that short plans do.

Legend: D features.
Source: LeCun (2022), A Path Towards Autonomous Machine Intelligence, §3.2–3.3: the trainable cost.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from learners.part import Part
from learners.planning.config import CriticConfig
from learners.planning.quasimetric import Quasimetric
from learners.planning.value_critic import ValueCritic


class Critic(Protocol):
    has_goals: bool
    """Or what is to come depends on the state alone."""

    @property
    def part(self) -> Part:
        """By which it learns, from the column `features`."""
        ...

    def __call__(self, features: Tensor, goals: Tensor | None = None) -> Tensor:
        """(...) of features (..., D) and the goals' (..., D), which broadcast."""
        ...


def critic_of(config: CriticConfig, features: int, *, has_goals: bool) -> ValueCritic | Quasimetric | None:
    """A module too; None if there is to be none."""
    if config.kind == "none":
        return None
    if config.kind == "quasimetric":
        return Quasimetric(config, features)
    return ValueCritic(config, features, has_goals=has_goals)
