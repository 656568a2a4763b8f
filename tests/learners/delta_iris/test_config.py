import pytest

from learners.delta_iris.config import DeltaIrisConfig, TokenizerConfig, WorldModelConfig
from learners.delta_iris.presets import CRAFTER
from learners.nn.config import ResidualEncoderSize

ATARI = DeltaIrisConfig()


def test_the_defaults_are_the_papers_sizes():
    for config, embedding_size in ((ATARI, 256), (CRAFTER, 512)):
        assert config.tokenizer.encoder.side == 8
        assert (config.tokenizer.tokens_per_frame, config.tokenizer.features_per_token) == (4, 1024)
        assert config.tokenizer.segment_length == 21
        assert config.world_model.embedding_size == config.world_model.frame_encoder.num_features == embedding_size
        assert config.actor_critic.encoder.num_features == 1024
        # 5 real blocks, those of the horizon and one that is left.
        assert config.world_model.max_blocks == config.actor_critic.burn_in + config.actor_critic.horizon + 1
        assert DeltaIrisConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"context_frames": 0}, "greater than or equal to 1"),
        ({"context_frames": 5}, "less than or equal to 4"),
        ({"grid_size": 3}, "grid_size must divide the encoder's resolution: found 3 and 8"),
        ({"context_encoder": ResidualEncoderSize(halve_after=(1,))}, "must end at resolution 8: found 32"),
    ],
)
def test_a_tokenizer_that_does_not_fit_together_is_refused(settings: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        TokenizerConfig.model_validate(settings)


def test_a_frames_features_must_be_as_many_as_an_embeddings():
    with pytest.raises(ValueError, match=r"frame_encoder has 256 features .*, expected embedding_size, 128"):
        WorldModelConfig(embedding_size=128)


@pytest.mark.parametrize(
    ("context_frames", "max_blocks", "burn_in", "words"),
    [
        (4, 4, 5, "context_frames must be less than max_blocks: found 4 and 4"),
        (4, 26, 2, r"from burn_in \+ 1 frames: found 3, expected of context_frames to max_blocks − 1, 4 to 25"),
        (1, 6, 5, r"from burn_in \+ 1 frames: found 6, expected of context_frames to max_blocks − 1, 1 to 5"),
    ],
)
def test_contexts_that_do_not_fit_into_each_other_are_refused(
    context_frames: int, max_blocks: int, burn_in: int, words: str
):
    def config(context_frames: int, max_blocks: int, burn_in: int) -> DeltaIrisConfig:
        return DeltaIrisConfig(
            tokenizer=TokenizerConfig(context_frames=context_frames),
            world_model=WorldModelConfig(max_blocks=max_blocks),
            actor_critic=ATARI.actor_critic.model_copy(update={"burn_in": burn_in}),
        )

    config(context_frames=4, max_blocks=5, burn_in=3)
    with pytest.raises(ValueError, match=words):
        config(context_frames, max_blocks, burn_in)


def test_ranks_share_a_batch_only_without_revival():
    ATARI.check_ranks(1)
    with pytest.raises(ValueError, match=r"found 2, expected 1 with tokenizer\.revive"):
        ATARI.check_ranks(2)
    DeltaIrisConfig(tokenizer=TokenizerConfig(revive=False)).check_ranks(2)


def test_parts_train_in_the_papers_order():
    assert list(ATARI.trainings) == ["tokenizer", "world_model", "actor_critic"]
