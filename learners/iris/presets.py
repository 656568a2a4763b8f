"""Named runs of IRIS: settings of the algorithm, and those of a run that differ from the defaults."""

from __future__ import annotations

from learners.catalogue import Preset
from learners.config import PartTraining
from learners.dreaming.config import ActorCriticConfig
from learners.iris.config import IrisConfig, TokenizerConfig, TransformerConfig


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
    *,
    actor_critic: ActorCriticConfig,
    tokenizer_steps: int,
    world_model_steps: int,
    world_model_starts_after: int,
    world_model_batch: int = 8,
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
        world_model=TransformerConfig(
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
        actor_critic=actor_critic,
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


CATCH = IrisConfig(
    tokenizer=_patch_tokenizer(
        vocab_size=64,
        codeword_size=8,
        width=16,
        ready_below=0.5,
        training=PartTraining(starts_after=0, batch_size=8, steps_per_iteration=200, learning_rate=2e-3),
    ),
    world_model=TransformerConfig(
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
)

CATCH_EVALUATION = {"episodes": 100, "final_episodes": 100, "envs_per_evaluator": 25, "num_evaluators": 2}

DEBUG = IrisConfig(
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
    world_model=TransformerConfig(
        layers=1,
        heads=2,
        embedding_size=32,
        max_blocks=5,
        training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2, weight_decay=0.01),
    ),
    actor_critic=ActorCriticConfig(
        channels=(8, 8, 8, 8),
        lstm_size=32,
        burn_in=2,
        horizon=4,
        training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2),
    ),
)
DEBUG_RUN = {
    "iterations": 3,
    "algorithm": DEBUG,
    "collection": {"steps_per_iteration": 20},
    "evaluation": {"every": 2, "episodes": 2, "final_episodes": 3, "envs_per_evaluator": 2},
    "inspect_every": 2,
    "log_every": 1,
}

PRESETS = {
    "iris-atari100k": Preset(
        "The paper: IRIS on an Atari game, 100 000 steps. Needs a GPU.",
        {"algorithm": IrisConfig(), "env": {"kind": "atari"}},
        is_published=True,
    ),
    "iris-crafter": Preset(
        "The paper's networks on Crafter, 1 000 000 steps; not as published.",
        {
            "algorithm": IrisConfig(),
            "env": {"kind": "crafter"},
            "collection": {"steps_per_iteration": 2_000},
            "evaluation": {"envs_per_evaluator": 8},
        },
    ),
    "demo": Preset(
        "Catch, as far as it takes to learn it: minutes on two CPU cores.",
        {
            "iterations": 20,
            "algorithm": CATCH,
            "env": {"kind": "catch"},
            "collection": {"last_iteration": 20, "envs_per_collector": 5},
            "evaluation": {"every": 2, **CATCH_EVALUATION},
            "inspect_every": 10,
        },
    ),
    "atari-demo": Preset(
        "UpNDown with small networks, five minutes or more on two CPU cores.",
        {
            "iterations": 15,
            "algorithm": _small_iris(
                tokenizer_steps=80,
                world_model_steps=60,
                world_model_starts_after=2,
                actor_critic=_small_actor_critic(horizon=8, steps=10, starts_after=5),
            ),
            "env": {"kind": "atari", "game": "UpNDown", "evaluation_max_frames": 4_000},
            "collection": {"steps_per_iteration": 400, "last_iteration": 15, "epsilon": 0.05},
            "evaluation": {
                "every": 5,
                "episodes": 4,
                "final_episodes": 8,
                "envs_per_evaluator": 4,
                "num_evaluators": 2,
            },
            "inspect_every": 5,
            "log_every": 20,
        },
    ),
    "atari-small": Preset(
        "Krull with small networks, 20 to 30 minutes on two CPU cores.",
        {
            "iterations": 32,
            "algorithm": _small_iris(
                tokenizer_steps=40,
                world_model_steps=80,
                world_model_starts_after=2,
                world_model_batch=16,
                actor_critic=_small_actor_critic(
                    horizon=10, steps=12, starts_after=12, discount=0.97, learning_rate=5e-4, entropy_weight=0.02
                ),
            ),
            "env": {"kind": "atari", "game": "Krull", "evaluation_max_frames": 4_000},
            "collection": {
                "steps_per_iteration": 2_000,
                "last_iteration": 32,
                "epsilon": 0.05,
                "envs_per_collector": 8,
            },
            "evaluation": {
                "every": 8,
                "episodes": 16,
                "final_episodes": 64,
                "envs_per_evaluator": 16,
                "num_evaluators": 2,
            },
            "inspect_every": 8,
            "log_every": 20,
        },
    ),
    "catch": Preset(
        "Catch, the smallest game, with small networks, for a laptop.",
        {
            "iterations": 40,
            "algorithm": CATCH,
            "env": {"kind": "catch"},
            "collection": {"last_iteration": 40},
            "evaluation": {"every": 1, **CATCH_EVALUATION},
            "inspect_every": 10,
        },
    ),
    "debug": Preset(
        "Seconds: tiny networks on Catch, to see the machinery work.", {**DEBUG_RUN, "env": {"kind": "catch"}}
    ),
    "debug-atari": Preset(
        "The same on an Atari game: to try out sweeps and reports.",
        {**DEBUG_RUN, "env": {"kind": "atari", "game": "Breakout", "evaluation_max_frames": 200}},
    ),
    "gym": Preset(
        "Any Gymnasium id of images and Discrete actions: --env.id module:Name-v0.",
        {
            "iterations": 100,
            "algorithm": _small_iris(
                tokenizer_steps=50,
                world_model_steps=60,
                world_model_starts_after=2,
                actor_critic=_small_actor_critic(horizon=10, steps=20, starts_after=5),
            ),
            "env": {"kind": "gym"},
            "collection": {"last_iteration": 100},
        },
    ),
}
