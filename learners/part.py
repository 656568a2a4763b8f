"""What is trained: a part of an algorithm with its loss, on batches of pieces of episodes.

Legend: B batch, T time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from learners.config import PartTraining
from learners.drawing import Drawing
from learners.nn.sampling import uniforms


@dataclass(frozen=True)
class Segments:
    """A batch of pieces of episodes, padded to one length.

    Step t is a frame, the action taken on it, and what that action brought. Where it is not the end of the episode but
    the step after it is padding (or the segment's last step), nothing is known of what came next.
    """

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
    """Result of one part's loss function; everything stays on the device. The terms need gradients, metrics none."""

    terms: dict[str, Mean]  # the sum of their values is minimised
    metrics: dict[str, Tensor]  # scalars, detached, only reported


def adam_w(module: nn.Module, training: PartTraining) -> torch.optim.Optimizer:
    """AdamW that decays the weights of Linear layers only; without decay it is Adam."""
    decayed = [layer.weight for layer in module.modules() if isinstance(layer, nn.Linear)]
    decayed_ids = {id(parameter) for parameter in decayed}
    others = [parameter for parameter in module.parameters() if id(parameter) not in decayed_ids]
    groups = [
        {"params": [each for each in decayed if each.requires_grad], "weight_decay": training.weight_decay},
        {"params": [each for each in others if each.requires_grad], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)


@dataclass(frozen=True)
class Part:
    """One thing that is trained."""

    name: str
    module: nn.Module
    training: PartTraining
    drawing: Drawing
    """Which segments it trains on."""
    columns: tuple[str, ...]
    """What the loss reads: `frames` or names of derived columns."""
    loss: Callable[[Segments, Tensor], Losses]
    """Of a batch and its noise, (H, B, N) uniform in [0, 1)."""
    noise: tuple[int, int] = (0, 0)
    """H and N of the noise."""
    optimizer: Callable[[nn.Module, PartTraining], torch.optim.Optimizer] = adam_w
    """Of the parameters that take a gradient; fused, or it must itself skip a step where its `found_inf` is 1."""
    before_step: Callable[[Tensor], None] | None = None
    """Called in every gradient step once its gradient is known, with a flag on the device: is the step taken?"""
    after_step: Callable[[Tensor], None] | None = None
    """The same, when the optimiser has stepped. Both change something only through `torch.where(flag, …)` and never
    read the flag: nobody waits for the device, and a step that was not taken changes nothing."""

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """All randomness of a loss beside dropout: (H, B, N) in [0, 1)."""
        steps, per_step = self.noise
        return uniforms((steps, batch_size, per_step), generator)


@dataclass(frozen=True)
class Derived:
    """A column that a part's current weights determine: the dataset keeps it until that part steps."""

    part: str
    compute: Callable[[Tensor], Tensor]
    """Rows of the source (N, ...) -> (N, ...), each row on its own; called without gradient, in evaluation mode."""
    source: str = "frames"
    """What it is computed from: frames (N, 3, 64, 64) uint8, or another derived column."""


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
