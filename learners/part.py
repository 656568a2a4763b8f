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

    actions: Tensor  # (B, T) int64; in a box (B, T, A) float32
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

    @property
    def sums(self) -> Tensor:
        return torch.stack([self.total, self.count.to(self.total.dtype)])

    def of(self, sums: Tensor) -> Tensor:
        return Mean(*sums).value

    def times(self, weight: float) -> Mean:
        return Mean(weight * self.total, self.count)


@dataclass(frozen=True)
class Statistic:
    """A loss that is no mean over a batch but a function of sums over it, as a covariance is: where several processes
    share the batch, the sums are added up first."""

    sums: Tensor  # (N,), with gradient
    of: Callable[[Tensor], Tensor]
    """(N,) -> scalar."""

    @property
    def value(self) -> Tensor:
        return self.of(self.sums)


class Losses(NamedTuple):
    """Result of one part's loss function; everything stays on the device. The terms need gradients, the rest none."""

    terms: Mapping[str, Mean | Statistic]  # the sum of their values is minimised
    metrics: Mapping[str, Tensor]  # scalars, only reported
    sums: Mapping[str, Tensor] = {}  # over the batch, of any shape: what `before_step` and `after_step` get


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


Hook = Callable[[Tensor, Mapping[str, Tensor]], None]
"""Of a flag on the device (is the step taken?) and the `sums` of the losses, over the batch of all processes.

It changes something only through `torch.where(flag, …)` and never reads the flag: nobody waits for the device, and a
step that was not taken changes nothing.
"""


@dataclass(frozen=True)
class Part:
    """One thing that is trained. It may use what the parts before it have learnt, and no part after it."""

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
    in_full_precision: bool = False
    """Whether its loss is computed in float32 whatever the learner's precision; columns never are."""
    optimizer: Callable[[nn.Module, PartTraining], torch.optim.Optimizer] = adam_w
    """Of the parameters that take a gradient; fused, or it must itself skip a step where its `found_inf` is 1."""
    before_step: Hook | None = None
    """Called in every gradient step once its gradient is known."""
    after_step: Hook | None = None
    """The same, when the optimiser has stepped."""

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """All randomness of a loss beside dropout: (H, B, N) in [0, 1)."""
        steps, per_step = self.noise
        return uniforms((steps, batch_size, per_step), generator)


@dataclass(frozen=True)
class Derived:
    """A column that a part's current weights determine: the dataset keeps it until that part steps."""

    part: str
    compute: Callable[[Segments], Tensor]
    """Values (N, ...) at the last of the `window` steps of N segments (N, window), each on its own; called without
    gradient, in evaluation mode. A segment is padded on the left where the episode had not begun."""
    sources: tuple[str, ...] = ("frames",)
    """Columns that it reads: `frames`, or other derived ones."""
    window: int = 1
    """Steps of the same episode that it reads: the row's own and those before it."""
    at_padding: bool = False
    """Whether it is computed for padding, too, from a window that ends with padding: after the last step of an episode
    the steps before are in it, elsewhere there is nothing but padding. Otherwise it is zero there."""


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
