"""Settings of a policy that learns in imagination; the defaults are those of IRIS (Micheli et al. 2023, appendix A)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from learners.config import FRAME_SIZE, Config, PartTraining, Probability

BurnIn = Annotated[int, Field(ge=0, le=1000)]
"""Whoever acts keeps the frames of so many steps of every environment."""


class DreamerConfig(Config):
    """What is common to policies that learn in imagination only, whatever their network."""

    lstm_size: PositiveInt = 512
    burn_in: BurnIn
    """Real steps before the start of a dream that warm up the recurrent state."""
    horizon: PositiveInt
    discount: Probability = 0.995
    """Per agent step."""
    lambda_: Probability = 0.95
    entropy_weight: NonNegativeFloat
    learn_after_end: bool
    """Learn from imagined steps after an imagined end, too, though the world model never saw any such."""
    training: PartTraining

    @property
    def transitions(self) -> int:
        """Imagined steps, of which each has a reward and an end."""
        return self.horizon


class ActorCriticConfig(DreamerConfig):
    """Recurrent policy and value, trained in imagination only."""

    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=6)] = (32, 32, 64, 64)
    """Widths of the convolutions; each is followed by a 2×2 max-pool."""
    patch_size: Literal[1, 2, 4] = 1
    """Pixels per side that are folded into channels before the first convolution; 1 is the paper's."""
    burn_in: BurnIn = 20
    horizon: Annotated[int, Field(ge=2)] = 20
    """Imagined frames the policy acts on; the last one only bootstraps the return."""
    entropy_weight: NonNegativeFloat = 0.001
    learn_after_end: bool = True
    training: PartTraining = PartTraining(starts_after=50, batch_size=64)

    @property
    def transitions(self) -> int:
        return self.horizon - 1

    @model_validator(mode="after")
    def _pools_leave_a_pixel(self) -> Self:
        if self.patch_size * 2 ** len(self.channels) > FRAME_SIZE:
            most = (FRAME_SIZE // self.patch_size).bit_length() - 1
            found = f"found {len(self.channels)} channels, expected {most} at most"
            raise ValueError(f"patches of {self.patch_size} leave room for {most} poolings: {found}")
        return self
