"""Settings of networks that several algorithms use."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

from pydantic import PositiveInt, model_validator

from learners.config import FRAME_SIZE, Config, Gate, Probability


class TransformerSize(Config):
    """A causal transformer; the defaults are those of IRIS."""

    layers: PositiveInt = 10
    heads: PositiveInt = 4
    embedding_size: PositiveInt = 256
    dropout: Probability = 0.1
    """On embeddings, attention and residuals; only in its own training."""

    @model_validator(mode="after")
    def _heads_divide_embedding(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(f"heads must divide embedding_size: found {self.heads} and {self.embedding_size}")
        return self


class BlockTransformerSize(TransformerSize):
    """A causal transformer over blocks of positions, each of which is one step of an episode."""

    max_blocks: PositiveInt = 20
    """Frames of context: the number of blocks the positional table holds."""
    positions: Literal["joint", "factorised"] = "joint"
    """One embedding for each position of the context (the papers), or the sum of one for the block and one for the
    position within it, which learns from less."""
    initialisation: Literal["gpt2", "fan_in"] = "gpt2"
    """Weights from N(0, 0.02) (the papers), or, for narrow networks, N(0, 1/fan-in) and embeddings from N(0, 1)."""


class ResidualEncoderSize(Config):
    """A residual encoder of frames, 64×64 to 8×8; the defaults are those of the tokenizer of Δ-IRIS."""

    width: PositiveInt = 64
    """Channels of the first level."""
    out_channels: PositiveInt = 64
    multipliers: tuple[PositiveInt, ...] = (1, 1, 2, 2, 4)
    """Of the width, one for each level."""
    halve_after: tuple[PositiveInt, ...] = (1, 3, 4)
    """Levels, counted from 1, after which the resolution is halved."""
    norm_groups: PositiveInt = 32
    """Groups of every GroupNorm; must divide the width of every level."""
    patch_size: Literal[1, 2, 4] = 1
    """Pixels per side that are folded into channels before the first convolution; 1 is the paper's."""

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def side(self) -> int:
        """Of the square that a frame becomes."""
        return FRAME_SIZE // self.patch_size // 2 ** len(self.halve_after)

    @property
    def num_features(self) -> int:
        return self.out_channels * self.side**2

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        if not self.widths or any(width % self.norm_groups for width in self.widths):
            raise ValueError(f"norm_groups must divide every width: found {self.norm_groups} and {self.widths}")
        if any(after <= before for before, after in pairwise((0, *self.halve_after, len(self.widths) + 1))):
            raise ValueError(
                f"halve_after: found {self.halve_after}, expected some of 1 to {len(self.widths)}, in order"
            )
        if self.side < 1:
            raise ValueError(f"halve_after: found {len(self.halve_after)} halvings, which leave no pixel")
        return self


def ready_gates(below: float, above: float) -> tuple[Gate, ...]:
    """What the parts after a tokenizer and a world model over its tokens wait for; 0 is nothing.

    Args:
        below: `worst_pixel_error` of the tokenizer, which then stops.
        above: `token_accuracy` of the world model.
    """
    drawn = Gate(part="tokenizer", metric="worst_pixel_error", threshold=below, above=False, stops=True)
    predicted = Gate(part="world_model", metric="token_accuracy", threshold=above, above=True, stops=False)
    return (drawn,) * bool(below) + (predicted,) * bool(above)
