"""Settings of Δ-IRIS; the defaults are the published ones for Atari (Micheli, Alonso, Fleuret, ICML 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from learners.config import AlgorithmConfig, Config, Gate, PartTraining, Probability
from learners.dreaming.config import BurnIn, DreamerConfig
from learners.nn.config import BlockTransformerSize, ResidualEncoderSize, ready_gates

if TYPE_CHECKING:
    from learners.action_space import ActionSpace
    from learners.delta_iris.delta_iris import DeltaIris


class TokenizerConfig(Config):
    """Context-aware autoencoder: a frame, given frames and actions before it, <-> `tokens_per_frame` codewords."""

    vocab_size: Annotated[int, Field(ge=2)] = 1024
    """Codebook entries."""
    codeword_size: PositiveInt = 64
    """Features per codeword."""
    grid_size: PositiveInt = 2
    """Tokens per side; must divide the resolution of the encoded frame."""
    context_frames: Annotated[int, Field(ge=1, le=4)] = 1
    """Frames, each with its action, that a frame is encoded relative to; 1 is the paper's."""
    encoder: ResidualEncoderSize = ResidualEncoderSize()
    """Of the frame with its context; the decoder is its mirror."""
    context_encoder: ResidualEncoderSize = ResidualEncoderSize(width=32, out_channels=16)
    """Of each frame before, for the decoder; must end at the resolution of `encoder`."""
    action_channels: PositiveInt = 4
    """Planes that the decoder sees of each action."""
    codebook_decay: Probability = 0.99
    """Of the moving average that a codeword is."""
    usage_decay: Probability = 0.98
    """Of the moving average of how often a codeword is chosen."""
    revive: bool = True
    """Move codewords that are hardly used onto encodings of the batch, while usage has less than log2 V − 2 bits."""
    revive_updates: NonNegativeInt = 400
    """After so many updates of the codebook that takes less than 1 bit."""
    commitment_weight: NonNegativeFloat = 0.02
    """Of the mean squared distance of encodings and their codewords."""
    absolute_weight: NonNegativeFloat = 0.1
    """Of the mean absolute error of pixels."""
    squared_weight: NonNegativeFloat = 1.0
    """Of the mean squared error of pixels."""
    worst_pixel_weight: NonNegativeFloat = 0.01
    """Of the largest squared error in a frame."""
    ready_below: NonNegativeFloat = 0.0
    """Once `worst_pixel_error`, averaged over an iteration, was below this, the tokenizer stops training and the other
    parts start; 0 (the paper): nothing waits and nothing stops."""
    segment_transitions: PositiveInt = 20
    """Frames per training segment beside the `context_frames` before them."""
    training: PartTraining = PartTraining(starts_after=5, batch_size=16)

    @property
    def tokens_per_frame(self) -> int:
        return self.grid_size**2

    @property
    def features_per_token(self) -> int:
        """Of the encoded frame, 4×4×64 in the paper."""
        return self.encoder.num_features // self.tokens_per_frame

    @property
    def segment_length(self) -> int:
        return self.context_frames + self.segment_transitions

    @model_validator(mode="after")
    def _resolutions_agree(self) -> Self:
        side = self.encoder.side
        if self.context_encoder.side != side:
            raise ValueError(f"context_encoder must end at resolution {side}: found {self.context_encoder.side}")
        if side % self.grid_size:
            raise ValueError(f"grid_size must divide the encoder's resolution: found {self.grid_size} and {side}")
        return self


class WorldModelConfig(BlockTransformerSize):
    """GPT over blocks of one frame, one action and the tokens of the transition that it makes."""

    layers: PositiveInt = 3
    dropout: Probability = 0.0
    max_blocks: PositiveInt = 26
    """Frames of context: the number of blocks the positional table holds, and steps per training segment."""
    frame_encoder: ResidualEncoderSize = ResidualEncoderSize(width=32, out_channels=4)
    """Its output is the embedding of a frame."""
    rewards: Literal["sign", "two_hot"] = "sign"
    """Predict the sign of a reward, or its size as a distribution over buckets in symlog space."""
    reward_buckets: Annotated[int, Field(ge=2)] = 255
    """Of `two_hot`."""
    token_weight: NonNegativeFloat = 0.1
    """Of the three terms of the loss, this and the two below."""
    reward_weight: NonNegativeFloat = 1.0
    end_weight: NonNegativeFloat = 0.1
    ready_above: Probability = 0.0
    """The actor-critic waits until `token_accuracy`, averaged over an iteration, was above this; 0 (the paper): not."""
    real_transitions_only: bool = False
    """Learn no tokens of transitions to a frame that is padding; the paper learns those of the last real frame."""
    training: PartTraining = PartTraining(starts_after=50, batch_size=64, steps_per_iteration=120, weight_decay=0.01)

    @property
    def reward_classes(self) -> int:
        """-1, 0 and 1, or buckets."""
        return 3 if self.rewards == "sign" else self.reward_buckets

    @model_validator(mode="after")
    def _frames_are_embeddings(self) -> Self:
        if (found := self.frame_encoder.num_features) != self.embedding_size:
            expected = f"expected embedding_size, {self.embedding_size}"
            raise ValueError(f"frame_encoder has {found} features (out_channels × resolution²), {expected}")
        return self


class ActorCriticConfig(DreamerConfig):
    """Recurrent policy and value, trained in imagination only."""

    encoder: ResidualEncoderSize = ResidualEncoderSize(width=32, out_channels=16)
    values: Literal["scalar", "two_hot"] = "scalar"
    """A number, or a distribution over buckets in symlog space."""
    value_buckets: Annotated[int, Field(ge=2)] = 255
    """Of `two_hot`."""
    burn_in: BurnIn = 5
    """Real transitions before a dream, in the world model's context and the recurrent state."""
    horizon: PositiveInt = 20
    """Imagined steps, all of which are learnt from."""
    entropy_weight: NonNegativeFloat = 0.002
    learn_after_end: bool = False
    target_rate: Probability = 0.005
    """How far the target network, which values the returns, moves towards the policy's in each gradient step."""
    training: PartTraining = PartTraining(starts_after=75, batch_size=64)


class DeltaIrisConfig(AlgorithmConfig):
    """Δ-IRIS: tokens of what changes between frames, a GPT over frames and tokens, a policy that learns in dreams."""

    kind: str = "delta-iris"
    tokenizer: TokenizerConfig = TokenizerConfig()
    world_model: WorldModelConfig = WorldModelConfig()
    actor_critic: ActorCriticConfig = ActorCriticConfig()
    priority_exponent: NonNegativeFloat = 1.0
    """α of the weight (1 + times drawn)^−α with which each part draws an episode."""

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

    def build(self, action_space: ActionSpace, *, record: bool = False) -> DeltaIris:
        from learners.action_space import num_actions_of
        from learners.delta_iris.delta_iris import DeltaIris

        return DeltaIris(self, num_actions_of(action_space, self.kind), record=record)

    def check_ranks(self, ranks: int) -> None:
        if ranks > 1 and self.tokenizer.revive:
            words = "codewords move onto encodings of the whole batch, of which a process has its share"
            raise ValueError(f"found {ranks}, expected 1 with tokenizer.revive: {words}")

    @model_validator(mode="after")
    def _contexts_fit(self) -> Self:
        blocks, context, burn_in = self.world_model.max_blocks, self.tokenizer.context_frames, self.actor_critic.burn_in
        if context >= blocks:
            raise ValueError(f"context_frames must be less than max_blocks: found {context} and {blocks}")
        if not context <= burn_in + 1 < blocks:
            words = f"of context_frames to max_blocks − 1, {context} to {blocks - 1}"
            raise ValueError(f"a dream starts from burn_in + 1 frames: found {burn_in + 1}, expected {words}")
        return self


CONFIG = DeltaIrisConfig
"""What `learners/catalogue.py` looks for."""
