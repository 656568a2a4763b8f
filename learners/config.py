"""Settings of everything that learns; the defaults are the paper's (Micheli, Alonso, Fleuret, ICLR 2023, appendix A).

Imports neither torch nor numpy: a command line can show its help without loading them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

if TYPE_CHECKING:
    from learners.iris.iris import Iris

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
FRAME_SIZE = 64
"""Frames are 3 × FRAME_SIZE × FRAME_SIZE, uint8 at rest."""


class Config(BaseModel):
    """Base of every setting: frozen, strictly typed, numbers finite, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class PartTraining(Config):
    """How one part (tokenizer, world model, actor-critic) is trained."""

    starts_after: NonNegativeInt
    """The part first trains in iteration `starts_after` + 1."""
    batch_size: PositiveInt
    """Segments per gradient step."""
    steps_per_iteration: PositiveInt = 200
    """Gradient steps per iteration."""
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled (AdamW), on the weights of Linear layers only; 0 is Adam."""
    max_gradient_norm: PositiveFloat = 10.0
    """Gradients are scaled down to this global L2 norm."""


class TokenizerConfig(Config):
    """Discrete autoencoder: one 64×64 frame <-> `tokens_per_frame` codebook indices."""

    vocab_size: PositiveInt = 512
    """Codebook entries."""
    codeword_size: PositiveInt = 512
    """Features per codeword."""
    grid_size: Literal[2, 4, 8] = 4
    """Tokens per side; the encoder halves the frame until it is this small."""
    width: PositiveInt = 64
    """Channels of every level of the encoder and the decoder."""
    residual_blocks: PositiveInt = 2
    """Per level of the encoder; the decoder has one more."""
    attention_resolutions: tuple[PositiveInt, ...] = (8, 16)
    """Resolutions at which self-attention follows each residual block."""
    norm_groups: PositiveInt = 32
    """Groups of every GroupNorm; must divide `width`."""
    patch_size: Literal[1, 2, 4] = 1
    """Pixels per side that are folded into channels before the first convolution, and unfolded after the last. Above 1
    everything is that much squared cheaper; not the paper's."""
    revive_after: NonNegativeInt = 0
    """Gradient steps without use after which a codeword moves onto an encoding of the batch; 0 (the paper) is never."""
    quantization_weight: PositiveFloat = 1.0
    """Of the codebook and the commitment term. At 1 (the paper) they hold a narrow network's encodings together before
    these say anything; a tenth lets it draw small things."""
    reconstruction: Literal["l1", "l2"] = "l1"
    """Mean absolute (the paper) or mean squared error of pixels; small things on a plain ground need the latter."""
    ready_below: NonNegativeFloat = 0.0
    """Once `worst_pixel_error`, averaged over an iteration, was below this, the tokenizer stops training and the other
    parts start: a thing that is not drawn has an error near 1, and a tokenizer that moves on spoils what they learn.
    0 (the paper): nothing waits and nothing stops."""
    perceptual: Literal["vgg16", "none"] = "vgg16"
    """Perceptual (LPIPS) loss term. A run without it is not exact IRIS."""
    perceptual_weights: str = ""
    """Safetensors file made by `python -m pipeline.convert_perceptual`; needed by `vgg16`."""
    training: PartTraining = PartTraining(starts_after=5, batch_size=256)

    @property
    def tokens_per_frame(self) -> int:
        return self.grid_size**2

    @model_validator(mode="after")
    def _groups_divide_width(self) -> Self:
        if self.width % self.norm_groups:
            raise ValueError(f"norm_groups must divide width: found {self.norm_groups} and {self.width}")
        return self


class TransformerConfig(Config):
    """GPT over blocks of one frame's tokens and one action."""

    layers: PositiveInt = 10
    heads: PositiveInt = 4
    embedding_size: PositiveInt = 256
    dropout: Probability = 0.1
    """On embeddings, attention and residuals; only in the world model's own training."""
    max_blocks: PositiveInt = 20
    """Frames of context: the number of blocks the positional table holds."""
    ready_above: Probability = 0.0
    """The actor-critic waits until `token_accuracy`, averaged over an iteration, was above this; 0 (the paper): not."""
    positions: Literal["joint", "factorised"] = "joint"
    """One embedding for each position of the context (the paper), or the sum of one for the block and one for the
    position within it, which learns from less."""
    initialisation: Literal["gpt2", "fan_in"] = "gpt2"
    """Weights from N(0, 0.02) (the paper), or, for narrow networks, N(0, 1/fan-in) and embeddings from N(0, 1)."""
    training: PartTraining = PartTraining(starts_after=25, batch_size=64, weight_decay=0.01)

    @model_validator(mode="after")
    def _heads_divide_embedding(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(f"heads must divide embedding_size: found {self.heads} and {self.embedding_size}")
        return self


class Gate(Config):
    """A condition on the metrics of a part: the parts after it wait for an iteration in which it held."""

    part: str
    metric: str
    threshold: float
    above: bool
    """Whether the metric must be above the threshold, or below it."""
    stops: bool
    """Whether the part itself does not train after that iteration."""

    def opens(self, metrics: Mapping[str, float]) -> bool:
        """Whether it holds in an iteration's metrics (`part/metric` -> value)."""
        value = metrics.get(f"{self.part}/{self.metric}")
        return value is not None and (value > self.threshold if self.above else value < self.threshold)


class IrisConfig(Config):
    """IRIS: a discrete tokenizer and a GPT over its tokens."""

    kind: Literal["iris"] = "iris"
    tokenizer: TokenizerConfig = TokenizerConfig()
    transformer: TransformerConfig = TransformerConfig()

    @property
    def gates(self) -> tuple[Gate, ...]:
        """In the order of the parts."""
        below, above = self.tokenizer.ready_below, self.transformer.ready_above
        drawn = Gate(part="tokenizer", metric="worst_pixel_error", threshold=below, above=False, stops=True)
        predicted = Gate(part="world_model", metric="token_accuracy", threshold=above, above=True, stops=False)
        return (drawn,) * bool(below) + (predicted,) * bool(above)

    @property
    def trainings(self) -> dict[str, PartTraining]:
        """How each part is trained, in order."""
        return {"tokenizer": self.tokenizer.training, "world_model": self.transformer.training}

    def build(self, num_actions: int) -> Iris:
        """The world model for a game with `num_actions` actions, freshly initialised from torch's global generator."""
        from learners.iris.iris import Iris

        return Iris(self, num_actions)


class ActorCriticConfig(Config):
    """Recurrent policy and value, trained in imagination only."""

    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=6)] = (32, 32, 64, 64)
    """Widths of the convolutions; each is followed by a 2×2 max-pool."""
    patch_size: Literal[1, 2, 4] = 1
    """Pixels per side that are folded into channels before the first convolution; 1 is the paper's."""
    lstm_size: PositiveInt = 512
    burn_in: NonNegativeInt = 20
    """Real frames before the start of a dream that warm up the recurrent state."""
    horizon: Annotated[int, Field(ge=2)] = 20
    """Imagined frames the policy acts on; the last one only bootstraps the return."""
    discount: Probability = 0.995
    """Per agent step."""
    lambda_: Probability = 0.95
    entropy_weight: NonNegativeFloat = 0.001
    learn_after_end: bool = True
    """Learn from imagined steps after an imagined end, too (the paper), though the world model never saw any such."""
    training: PartTraining = PartTraining(starts_after=50, batch_size=64)

    @model_validator(mode="after")
    def _pools_leave_a_pixel(self) -> Self:
        if self.patch_size * 2 ** len(self.channels) > FRAME_SIZE:
            most = (FRAME_SIZE // self.patch_size).bit_length() - 1
            found = f"found {len(self.channels)} channels, expected {most} at most"
            raise ValueError(f"patches of {self.patch_size} leave room for {most} poolings: {found}")
        return self


class DatasetConfig(Config):
    """How stored experience becomes training segments."""

    truncation_is_end: bool = True
    """Count running into a time limit as an end for the world model and the returns, as the authors do."""


class LearnerConfig(Config):
    """How gradient steps are computed; `float32` and `bfloat16` runs are different runs."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of matrix products and convolutions. Weights, optimisers, normalisation and losses stay float32."""
    cuda_graph: bool = True
    """On a GPU, record the imagined rollout once and replay it as a whole: the same kernels without their launches."""
    deterministic: bool = False
    """Refuse operations whose last bits differ from run to run; a CPU has none, a GPU's are slower."""
