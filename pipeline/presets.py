"""Named configurations: where a command line starts. The paper's values are the defaults of the models."""

from __future__ import annotations

from actors.config import (
    AtariConfig,
    CatchConfig,
    CollectionConfig,
    CrafterConfig,
    EvaluationConfig,
    GymConfig,
)
from learners.config import ActorCriticConfig, IrisConfig, PartTraining, TokenizerConfig, TransformerConfig
from pipeline.config import RunConfig


def _patch_tokenizer(
    *, vocab_size: int, codeword_size: int, width: int, ready_below: float = 0.0, training: PartTraining
) -> TokenizerConfig:
    """On patches of 4 × 4 pixels, with what draws small things fast: squared error, revival, little quantisation."""
    return TokenizerConfig(
        vocab_size=vocab_size,
        codeword_size=codeword_size,
        width=width,
        patch_size=4,
        residual_blocks=1,
        attention_resolutions=(),
        norm_groups=8,
        quantization_weight=0.1,
        revive_after=20,
        reconstruction="l2",
        ready_below=ready_below,
        perceptual="none",
        training=training,
    )


def _small_iris(
    *, tokenizer_steps: int, world_model_steps: int, world_model_starts_after: int, world_model_batch: int = 8
) -> IrisConfig:
    """A tokenizer of 300 thousand parameters and a GPT of 2 layers: an Atari game on two CPU cores."""
    return IrisConfig(
        tokenizer=_patch_tokenizer(
            vocab_size=128,
            codeword_size=16,
            width=32,
            training=PartTraining(
                starts_after=0, batch_size=16, steps_per_iteration=tokenizer_steps, learning_rate=1e-3
            ),
        ),
        transformer=TransformerConfig(
            layers=2,
            embedding_size=128,
            max_blocks=10,
            positions="factorised",
            initialisation="fan_in",
            training=PartTraining(
                starts_after=world_model_starts_after,
                batch_size=world_model_batch,
                steps_per_iteration=world_model_steps,
                learning_rate=1e-3,
                weight_decay=0.01,
            ),
        ),
    )


def _small_actor_critic(
    *,
    horizon: int,
    steps: int,
    starts_after: int,
    discount: float = 0.95,
    learning_rate: float = 1e-3,
    entropy_weight: float = 0.01,
) -> ActorCriticConfig:
    return ActorCriticConfig(
        channels=(16, 32),
        patch_size=4,
        lstm_size=256,
        burn_in=4,
        horizon=horizon,
        discount=discount,
        entropy_weight=entropy_weight,
        learn_after_end=False,
        training=PartTraining(
            starts_after=starts_after, batch_size=16, steps_per_iteration=steps, learning_rate=learning_rate
        ),
    )


IRIS_ATARI100K = RunConfig(preset="iris-atari100k", env=AtariConfig())

IRIS_CRAFTER = RunConfig(
    preset="iris-crafter",
    env=CrafterConfig(),
    collection=CollectionConfig(steps_per_iteration=2_000),
    evaluation=EvaluationConfig(envs_per_evaluator=8),
)

DEMO = RunConfig(
    preset="demo",
    iterations=15,
    env=AtariConfig(game="Boxing", evaluation_max_frames=4_000),
    world_model=_small_iris(tokenizer_steps=80, world_model_steps=60, world_model_starts_after=2),
    actor_critic=_small_actor_critic(horizon=8, steps=10, starts_after=5),
    collection=CollectionConfig(last_iteration=15),
    evaluation=EvaluationConfig(every=5, episodes=4, final_episodes=8, envs_per_evaluator=4, num_evaluators=2),
    inspect_every=5,
    log_every=20,
)

ATARI_SMALL = RunConfig(
    preset="atari-small",
    iterations=32,
    env=AtariConfig(game="Krull", evaluation_max_frames=4_000),
    world_model=_small_iris(tokenizer_steps=40, world_model_steps=80, world_model_starts_after=2, world_model_batch=16),
    actor_critic=_small_actor_critic(
        horizon=10, steps=12, starts_after=12, discount=0.97, learning_rate=5e-4, entropy_weight=0.02
    ),
    collection=CollectionConfig(steps_per_iteration=2_000, last_iteration=32, epsilon=0.05, envs_per_collector=8),
    evaluation=EvaluationConfig(every=8, episodes=16, final_episodes=64, envs_per_evaluator=16, num_evaluators=2),
    inspect_every=8,
    log_every=20,
)

CATCH = RunConfig(
    preset="catch",
    iterations=40,
    env=CatchConfig(),
    world_model=IrisConfig(
        tokenizer=_patch_tokenizer(
            vocab_size=64,
            codeword_size=8,
            width=16,
            ready_below=0.5,
            training=PartTraining(starts_after=0, batch_size=8, steps_per_iteration=200, learning_rate=2e-3),
        ),
        transformer=TransformerConfig(
            layers=2,
            embedding_size=64,
            dropout=0.0,
            max_blocks=10,
            positions="factorised",
            initialisation="fan_in",
            ready_above=0.93,
            training=PartTraining(
                starts_after=0, batch_size=8, steps_per_iteration=120, learning_rate=2e-3, weight_decay=0.01
            ),
        ),
    ),
    actor_critic=ActorCriticConfig(
        channels=(16, 32),
        patch_size=4,
        lstm_size=256,
        burn_in=4,
        horizon=7,
        discount=0.95,
        entropy_weight=0.03,
        learn_after_end=False,
        training=PartTraining(starts_after=0, batch_size=32, steps_per_iteration=30, learning_rate=2e-3),
    ),
    collection=CollectionConfig(last_iteration=40),
    evaluation=EvaluationConfig(every=1, episodes=100, final_episodes=100, envs_per_evaluator=25, num_evaluators=2),
    inspect_every=10,
)

DEBUG = RunConfig(
    preset="debug",
    iterations=3,
    env=CatchConfig(),
    world_model=IrisConfig(
        tokenizer=TokenizerConfig(
            vocab_size=16,
            codeword_size=16,
            width=8,
            residual_blocks=1,
            attention_resolutions=(8,),
            norm_groups=4,
            perceptual="none",
            training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2),
        ),
        transformer=TransformerConfig(
            layers=1,
            heads=2,
            embedding_size=32,
            max_blocks=5,
            training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2, weight_decay=0.01),
        ),
    ),
    actor_critic=ActorCriticConfig(
        channels=(8, 8, 8, 8),
        lstm_size=32,
        burn_in=2,
        horizon=4,
        training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2),
    ),
    collection=CollectionConfig(steps_per_iteration=20),
    evaluation=EvaluationConfig(every=2, episodes=2, final_episodes=3, envs_per_evaluator=2),
    inspect_every=2,
    log_every=1,
)

DEBUG_ATARI = DEBUG.model_copy(
    update={"preset": "debug-atari", "env": AtariConfig(game="Breakout", evaluation_max_frames=200)}
)

GYM = RunConfig(
    preset="gym",
    iterations=100,
    env=GymConfig(),
    world_model=_small_iris(tokenizer_steps=50, world_model_steps=60, world_model_starts_after=2),
    actor_critic=_small_actor_critic(horizon=10, steps=20, starts_after=5),
    collection=CollectionConfig(last_iteration=100),
)

PUBLISHED = (IRIS_ATARI100K,)
"""How their algorithm is evaluated on their kind of game in the literature."""

PRESETS: dict[str, tuple[str, RunConfig]] = {
    "iris-atari100k": ("The paper: IRIS on an Atari game, 100 000 steps, 600 iterations. Needs a GPU.", IRIS_ATARI100K),
    "iris-crafter": ("The paper's networks on Crafter, 1 000 000 steps; not a published configuration.", IRIS_CRAFTER),
    "demo": ("Boxing with small networks, about four minutes on two CPU cores.", DEMO),
    "atari-small": ("Krull with small networks, 20 to 30 minutes on two CPU cores.", ATARI_SMALL),
    "catch": ("Catch, the smallest game, with small networks, for a laptop.", CATCH),
    "debug": ("Seconds: tiny networks on Catch, to see the machinery work.", DEBUG),
    "debug-atari": ("The same on an Atari game: to try out sweeps and reports.", DEBUG_ATARI),
    "gym": ("Any Gymnasium id with image observations and Discrete actions: --env.id module:Name-v0.", GYM),
}


def published_like(config: RunConfig) -> RunConfig | None:
    """The published run of the same algorithm on the same game; None where nothing is published."""
    for published in PUBLISHED:
        if (published.world_model.kind, published.env.kind) == (config.world_model.kind, config.env.kind):
            game = config.env.model_dump(include={"game"})
            return published.model_copy(update={"env": published.env.model_copy(update=game)})
    return None
