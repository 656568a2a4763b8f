"""Networks small enough to reason about: frames as 4 × 4 patches, and one halving to 8×8."""

from learners.config import PartTraining
from learners.delta_iris.config import ActorCriticConfig, DeltaIrisConfig, TokenizerConfig, WorldModelConfig
from learners.nn.config import ResidualEncoderSize

NUM_ACTIONS = 3
TRAINING = PartTraining(starts_after=0, batch_size=4, learning_rate=1e-3)


def encoder(out_channels: int) -> ResidualEncoderSize:
    return ResidualEncoderSize(
        width=4, out_channels=out_channels, multipliers=(1, 2), halve_after=(1,), norm_groups=2, patch_size=4
    )


TINY_DELTA_IRIS = DeltaIrisConfig(
    tokenizer=TokenizerConfig(
        vocab_size=16,
        codeword_size=8,
        encoder=encoder(4),
        context_encoder=encoder(2),
        action_channels=1,
        segment_transitions=3,
        training=TRAINING,
    ),
    world_model=WorldModelConfig(
        layers=2, heads=2, embedding_size=64, max_blocks=5, frame_encoder=encoder(1), training=TRAINING
    ),
    actor_critic=ActorCriticConfig(encoder=encoder(1), lstm_size=8, burn_in=2, horizon=3, training=TRAINING),
)
