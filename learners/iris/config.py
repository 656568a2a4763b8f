"""Settings of IRIS; the defaults are the paper's (Micheli, Alonso, Fleuret, ICLR 2023, appendix A)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from learners.config import MAY_CHANGE, AlgorithmConfig, Config, Gate, PartTraining, Probability
from learners.dreaming.config import ActorCriticConfig
from learners.nn.config import BlockTransformerSize, ready_gates

if TYPE_CHECKING:
    from learners.action_space import ActionSpace
    from learners.iris.iris import Iris


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
    perceptual_weights: Annotated[str, MAY_CHANGE] = ""
    """Safetensors file made by `python -m learners.iris.convert_perceptual`; needed by `vgg16`."""
    perceptual_dropout: Probability = 0.5
    """On that term's squared feature differences, in every gradient step: published training leaves it on."""
    training: PartTraining = PartTraining(starts_after=5, batch_size=256)

    @property
    def tokens_per_frame(self) -> int:
        return self.grid_size**2

    @model_validator(mode="after")
    def _groups_divide_width(self) -> Self:
        if self.width % self.norm_groups:
            raise ValueError(f"norm_groups must divide width: found {self.norm_groups} and {self.width}")
        return self


class TransformerConfig(BlockTransformerSize):
    """GPT over blocks of one frame's tokens and one action."""

    ready_above: Probability = 0.0
    """The actor-critic waits until `token_accuracy`, averaged over an iteration, was above this; 0 (the paper): not."""
    training: PartTraining = PartTraining(starts_after=25, batch_size=64, weight_decay=0.01)


class IrisConfig(AlgorithmConfig):
    """IRIS: a discrete tokenizer, a GPT over its tokens, and an actor-critic that learns in its imagination."""

    kind: str = "iris"
    tokenizer: TokenizerConfig = TokenizerConfig()
    world_model: TransformerConfig = TransformerConfig()
    actor_critic: ActorCriticConfig = ActorCriticConfig()

    @property
    def trainings(self) -> dict[str, PartTraining]:
        return {
            "tokenizer": self.tokenizer.training,
            "world_model": self.world_model.training,
            "actor_critic": self.actor_critic.training,
        }

    @property
    def gates(self) -> tuple[Gate, ...]:
        return ready_gates(self.tokenizer.ready_below, self.world_model.ready_above)

    def build(self, action_space: ActionSpace, *, record: bool = False) -> Iris:
        from learners.action_space import num_actions_of
        from learners.iris.iris import Iris

        return Iris(self, num_actions_of(action_space, self.kind), record=record)

    def check_ranks(self, ranks: int) -> None:
        if ranks > 1 and self.tokenizer.revive_after:
            words = "a codeword that one process does not use another may"
            raise ValueError(f"found {ranks}, expected 1 with revive_after: {words}")

    def check_files(self, iterations: int) -> None:
        tokenizer = self.tokenizer
        if tokenizer.perceptual == "none" or iterations <= tokenizer.training.starts_after:
            return
        if not Path(tokenizer.perceptual_weights).is_file():
            raise ValueError(missing_weights_message(tokenizer.perceptual_weights))


def missing_weights_message(path: str | Path) -> str:
    """One line for a run whose tokenizer has a perceptual loss, but no file at `path` ("" if none was named)."""
    found = f"no file {path}" if str(path) else "no file named"
    return (
        f"--algorithm.tokenizer.perceptual-weights: found {found}, expected the weights of the perceptual loss; make"
        " them with python -m learners.iris.convert_perceptual (docs/perceptual.md), or train without this loss, which"
        " is no longer exact IRIS: --algorithm.tokenizer.perceptual none"
    )


CONFIG = IrisConfig
"""What `learners/catalogue.py` looks for."""
