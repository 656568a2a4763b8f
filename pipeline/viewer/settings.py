"""What may change while something is watched."""

from __future__ import annotations

from dataclasses import dataclass

from learners.planning.config import CostConfig, PlannerConfig


@dataclass
class Settings:
    """Of one visit, whatever scene is on."""

    temperature: float
    """Of what the agent draws its actions with; near 0 it takes the likeliest."""
    horizon: int = 200
    """Imagined steps until a dream starts anew."""
    zones: tuple[float, ...] = ()
    """Where an agent that plans must not go: x, y and radius of discs, one after another."""
    planner: PlannerConfig | None = None
    """How it plans, if not as it was trained to."""
    cost: CostConfig | None = None
    """By what, if not by that."""
