"""Settings of a sequence task that shows why attention. Imports neither torch nor numpy.

Source: Fleuret, Deep Learning Course, lecture 13.2: a signal whose parts must know of each other.
"""

from __future__ import annotations

from math import ceil, log2
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from learners.config import Config

SMALLEST_WIDTH, LARGEST_WIDTH = 5.0, 11.0
"""Samples, of a shape."""


class SequencesConfig(Config):
    """Two triangles and two rectangles on a line; in the target both of a pair are as high as their mean."""

    length: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Samples."""
    group: Literal["shape", "place"] = "shape"
    """Pairs are of one shape, or the two on the left and the two on the right, whatever they are."""
    rectangles_differ: bool = True
    """Whether rectangles, as triangles always, are drawn until their heights differ by more than 4; published: no."""
    noise: Annotated[float, Field(ge=0)] = 0.15
    """Uniform in ± this, drawn anew for each sample of input and of target."""

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.length < (least := ceil(4 * (LARGEST_WIDTH + 2))):
            raise ValueError(f"length: found {self.length}, expected at least {least}, so that four shapes have room")
        return self

    @property
    def position_bits(self) -> int:
        """Of the number of a place."""
        return ceil(log2(self.length))


class ToyNetworkConfig(Config):
    """Convolutions of 5 samples, or fewer of them and one layer of attention."""

    kind: Literal["conv", "attention"] = "attention"
    channels: PositiveInt = 64
    scale: bool = False
    """Whether attention divides q·k by the root of its size; published: no."""
    positions: Literal["none", "binary"] = "none"
    """Further input channels: the bits of a place's number."""


class ToyTrainingConfig(Config):
    """The small setting: minutes on a CPU. Published: 25 000 sequences, 250 epochs, never shuffled."""

    sequences: PositiveInt = 5_000
    test_sequences: PositiveInt = 1_000
    epochs: PositiveInt = 20
    batch_size: PositiveInt = 100
    shuffle: bool = True
    learning_rate: PositiveFloat = 1e-3


PUBLISHED_TRAINING = ToyTrainingConfig(sequences=25_000, epochs=250, shuffle=False)
