"""The seam between algorithms: what the rest of the pipeline knows of a world model.

It mentions neither tokens nor pixels, so that IRIS, Δ-IRIS and others stand side by side: the learner trains `parts` in
order, the dataset computes `derived` columns, the collectors run `observe`, the actor-critic dreams.

Legend: B batch, T time, F the feature shape (what the policy reads).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from learners.config import PartTraining
from learners.nn.sampling import uniforms


@dataclass(frozen=True)
class Segments:
    """A batch of pieces of episodes, padded to one length."""

    actions: Tensor  # (B, T) int64
    rewards: Tensor  # (B, T) float32, in the game's own units
    ends: Tensor  # (B, T) bool
    mask: Tensor  # (B, T) bool, False where padded
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    """What was asked for beside them: `frames` (B, T, 3, 64, 64) uint8, derived ones (B, T, ...); zero where padded."""

    def until(self, step: int) -> Segments:
        """The first `step` steps of each."""
        columns = {name: column[:, :step] for name, column in self.columns.items()}
        first = slice(None), slice(step)
        return Segments(self.actions[first], self.rewards[first], self.ends[first], self.mask[first], columns)


@dataclass(frozen=True)
class Mean:
    """A mean over a batch as its two halves: where several processes share the batch, each half is added up first."""

    total: Tensor  # scalar, with gradient
    count: Tensor  # scalar

    @property
    def value(self) -> Tensor:
        """0 if nothing was counted."""
        return self.total / self.count.clamp(min=1.0)


class Losses(NamedTuple):
    """Result of one part's loss function; everything stays on the device."""

    terms: dict[str, Mean]  # the sum of their values is minimised
    metrics: dict[str, Tensor]  # scalars, detached, only reported


@dataclass(frozen=True)
class Part:
    """One thing that is trained."""

    name: str
    module: nn.Module
    training: PartTraining
    length: int
    """Steps per segment."""
    anchor: Literal["start", "end"]
    """Which step of a segment is drawn uniformly in its episode; the rest is padded beyond the episode."""
    columns: tuple[str, ...]
    """What the loss reads: `frames` or names of derived columns."""
    loss: Callable[[Segments, Tensor], Losses]
    """Of a batch and its noise."""
    noise: tuple[int, int] = (0, 0)
    """Steps H and uniforms N per step."""

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """All randomness of a loss beside dropout: (H, B, N) in [0, 1)."""
        steps, per_step = self.noise
        return uniforms((steps, batch_size, per_step), generator)


@dataclass(frozen=True)
class Derived:
    """A column that a part's current weights determine: the dataset may keep it until that part steps."""

    part: str
    compute: Callable[[Tensor], Tensor]
    """Rows of the source (N, ...) -> (N, ...), each row on its own, without gradient."""
    source: str = "frames"
    """What it is computed from: frames (N, 3, 64, 64) uint8, or another derived column."""


class Dream(Protocol):
    """An imagined rollout of B trajectories."""

    features: list[Tensor]
    """Of every step so far, each (B, *F); the last one is what the policy acts on next."""

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Imagines one transition under actions (B,): rewards (B,) float32 and ends (B,) bool."""
        ...


class WorldModel(Protocol):
    feature_shape: tuple[int, ...]
    noise_per_step: int
    """Uniforms per trajectory and imagined step."""

    @property
    def parts(self) -> Sequence[Part]:
        """What is trained, in order."""
        ...

    @property
    def derived(self) -> Mapping[str, Derived]: ...

    @property
    def dream_columns(self) -> tuple[str, ...]:
        """Columns that `dream` and `context_features` read."""
        ...

    def acting_modules(self) -> Mapping[str, nn.Module]:
        """What a collector needs the weights of."""
        ...

    def observe(self, frames: Tensor) -> Tensor:
        """Features (N, *F) of frames (N, 3, 64, 64) uint8."""
        ...

    def context_features(self, context: Segments) -> Tensor:
        """Features (B, T, *F) of the frames of a context."""
        ...

    def dream(self, context: Segments, noise: Tensor) -> Dream:
        """A dream that starts at the last frame of `context`; noise (H, B, noise_per_step) in [0, 1) for H steps."""
        ...

    def dreamt_rewards(self, rewards: Tensor) -> Tensor:
        """Rewards of real steps in the unit in which a dream gives them, and so that of values."""
        ...

    def render(self, features: Tensor) -> Tensor:
        """Frames (N, 3, 64, 64) uint8 that show features (N, *F)."""
        ...


def to_unit(frames: Tensor) -> Tensor:
    """uint8 frames as float32 in [0, 1]."""
    return frames.float().div_(255.0)


def mean(values: Tensor) -> Mean:
    """Over all of them."""
    return Mean(values.sum(), values.new_full((), values.numel()))


def masked_mean(values: Tensor, mask: Tensor) -> Mean:
    """Of values (B, T) where mask (B, T) is True."""
    weights = mask.to(values.dtype)
    return Mean((values * weights).sum(), weights.sum())
