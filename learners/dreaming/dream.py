"""What an algorithm offers whose world can be dreamt of: to a policy that learns there, to pictures, to a viewer.

Legend: N frames, B batch, T time, H imagined steps, F the feature shape (what the policy reads).
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from learners.part import Segments


class Dream(Protocol):
    """An imagined rollout of B trajectories."""

    features: list[Tensor]
    """Of every step so far, each (B, *F); the last one is what the policy acts on next."""

    def step(self, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Imagines one transition under actions (B,): rewards (B,) float32 and ends (B,) bool.

        All that is random in it is noise (B, noise_per_step), uniform in [0, 1).
        """
        ...


class Observes(Protocol):
    feature_shape: tuple[int, ...]

    def observe(self, frames: Tensor) -> Tensor:
        """Features (N, *F) of frames (N, 3, 64, 64) uint8."""
        ...


class Dreams(Observes, Protocol):
    noise_per_step: int
    """Uniforms per trajectory and imagined step."""

    dream_parts: tuple[str, ...]
    """What must have been trained before a dream shows anything."""

    @property
    def dream_columns(self) -> tuple[str, ...]:
        """Columns that `dream` and `context_features` read."""
        ...

    def context_features(self, context: Segments) -> Tensor:
        """Features (B, T, *F) of the frames of a context."""
        ...

    def dream(self, context: Segments) -> Dream:
        """A dream that starts at the last frame of `context`, and ends when nobody steps it any more."""
        ...

    def dreamt_rewards(self, rewards: Tensor) -> Tensor:
        """Rewards of real steps in the unit in which a dream gives them, and so that of values."""
        ...


class Renders(Protocol):
    def render(self, features: Tensor) -> Tensor:
        """Frames (N, 3, 64, 64) uint8 that show features (N, *F)."""
        ...


class DrawnDreams(Dreams, Renders, Protocol):
    """Dreams that can be looked at."""
