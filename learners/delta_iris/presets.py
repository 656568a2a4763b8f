"""Named runs of Δ-IRIS: settings of the algorithm, and those of a run that differ from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from learners.catalogue import Preset
from learners.config import PartTraining
from learners.delta_iris.config import ActorCriticConfig, DeltaIrisConfig, TokenizerConfig, WorldModelConfig
from learners.nn.config import ResidualEncoderSize

CRAFTER = DeltaIrisConfig(
    tokenizer=TokenizerConfig(
        context_encoder=ResidualEncoderSize(width=64, out_channels=8),
        revive_updates=0,
        training=PartTraining(
            starts_after=0, batch_size=32, first_steps=5000, steps_per_iteration=500, weight_decay=0.01
        ),
    ),
    world_model=WorldModelConfig(
        embedding_size=512,
        heads=8,
        max_blocks=21,
        frame_encoder=ResidualEncoderSize(width=32, out_channels=8),
        rewards="two_hot",
        token_weight=1.0,
        end_weight=1.0,
        training=PartTraining(
            starts_after=0, batch_size=32, first_steps=2500, steps_per_iteration=500, weight_decay=0.01
        ),
    ),
    actor_critic=ActorCriticConfig(
        values="two_hot",
        horizon=15,
        discount=0.997,
        entropy_weight=0.001,
        training=PartTraining(starts_after=0, batch_size=86, steps_per_iteration=500),
    ),
    priority_exponent=5.0,
)


def _patch_encoder(width: int, out_channels: int, norm_groups: int) -> ResidualEncoderSize:
    """On patches of 4 × 4 pixels, with one halving."""
    return ResidualEncoderSize(
        width=width,
        out_channels=out_channels,
        multipliers=(1, 2),
        halve_after=(1,),
        norm_groups=norm_groups,
        patch_size=4,
    )


DEBUG = DeltaIrisConfig(
    tokenizer=TokenizerConfig(
        vocab_size=16,
        codeword_size=8,
        encoder=_patch_encoder(8, 4, norm_groups=4),
        context_encoder=_patch_encoder(8, 2, norm_groups=4),
        action_channels=1,
        segment_transitions=3,
        training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2),
    ),
    world_model=WorldModelConfig(
        layers=1,
        heads=2,
        embedding_size=64,
        max_blocks=6,
        frame_encoder=_patch_encoder(8, 1, norm_groups=4),
        training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2, weight_decay=0.01),
    ),
    actor_critic=ActorCriticConfig(
        encoder=_patch_encoder(8, 1, norm_groups=4),
        lstm_size=32,
        burn_in=2,
        horizon=3,
        training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2),
    ),
)

CATCH = DeltaIrisConfig(
    tokenizer=TokenizerConfig(
        vocab_size=32,
        codeword_size=16,
        encoder=_patch_encoder(16, 16, norm_groups=8),
        context_encoder=_patch_encoder(16, 8, norm_groups=8),
        action_channels=2,
        segment_transitions=8,
        ready_below=0.3,
        training=PartTraining(starts_after=0, batch_size=8, steps_per_iteration=200, learning_rate=2e-3),
    ),
    world_model=WorldModelConfig(
        layers=2,
        embedding_size=64,
        max_blocks=10,
        positions="factorised",
        initialisation="fan_in",
        frame_encoder=_patch_encoder(16, 1, norm_groups=8),
        token_weight=0.3,
        end_weight=0.3,
        ready_above=0.93,
        training=PartTraining(
            starts_after=0, batch_size=8, steps_per_iteration=120, learning_rate=2e-3, weight_decay=0.01
        ),
    ),
    actor_critic=ActorCriticConfig(
        encoder=_patch_encoder(16, 4, norm_groups=8),
        lstm_size=256,
        burn_in=2,
        horizon=7,
        discount=0.95,
        entropy_weight=0.03,
        target_rate=0.05,
        training=PartTraining(starts_after=0, batch_size=32, steps_per_iteration=30, learning_rate=2e-3),
    ),
)

DEMO = DeltaIrisConfig(
    tokenizer=TokenizerConfig(
        vocab_size=128,
        codeword_size=16,
        encoder=_patch_encoder(32, 16, norm_groups=8),
        context_encoder=_patch_encoder(16, 8, norm_groups=8),
        action_channels=2,
        segment_transitions=6,
        training=PartTraining(starts_after=0, batch_size=4, steps_per_iteration=80, learning_rate=1e-3),
    ),
    world_model=WorldModelConfig(
        layers=2,
        embedding_size=128,
        max_blocks=12,
        positions="factorised",
        initialisation="fan_in",
        frame_encoder=_patch_encoder(16, 2, norm_groups=8),
        token_weight=0.3,
        end_weight=0.3,
        training=PartTraining(
            starts_after=2, batch_size=8, steps_per_iteration=60, learning_rate=1e-3, weight_decay=0.01
        ),
    ),
    actor_critic=ActorCriticConfig(
        encoder=_patch_encoder(16, 4, norm_groups=8),
        lstm_size=256,
        burn_in=2,
        horizon=8,
        discount=0.95,
        entropy_weight=0.01,
        target_rate=0.05,
        training=PartTraining(starts_after=5, batch_size=16, steps_per_iteration=30, learning_rate=1e-3),
    ),
)


def _small(rewards: Literal["sign", "two_hot"], training: Mapping[str, PartTraining], **policy: Any) -> DeltaIrisConfig:
    """Networks that two CPU cores train within an hour or two."""
    return DeltaIrisConfig(
        tokenizer=TokenizerConfig(
            vocab_size=256,
            codeword_size=32,
            encoder=_patch_encoder(32, 16, norm_groups=8),
            context_encoder=_patch_encoder(16, 8, norm_groups=8),
            action_channels=2,
            segment_transitions=6,
            training=training["tokenizer"],
        ),
        world_model=WorldModelConfig(
            layers=2,
            embedding_size=128,
            max_blocks=16,
            positions="factorised",
            initialisation="fan_in",
            frame_encoder=_patch_encoder(16, 2, norm_groups=8),
            rewards=rewards,
            token_weight=0.3,
            end_weight=0.3,
            training=training["world_model"],
        ),
        actor_critic=ActorCriticConfig(
            encoder=_patch_encoder(16, 4, norm_groups=8),
            lstm_size=256,
            burn_in=3,
            horizon=12,
            target_rate=0.05,
            training=training["actor_critic"],
            **policy,
        ),
    )


ATARI_SMALL = _small(
    "sign",
    {
        "tokenizer": PartTraining(starts_after=0, batch_size=8, steps_per_iteration=120, learning_rate=1e-3),
        "world_model": PartTraining(
            starts_after=2, batch_size=16, steps_per_iteration=120, learning_rate=1e-3, weight_decay=0.01
        ),
        "actor_critic": PartTraining(starts_after=5, batch_size=32, steps_per_iteration=50, learning_rate=5e-4),
    },
    discount=0.97,
    entropy_weight=0.01,
)

CRAFTER_SMALL = _small(
    "two_hot",
    {
        "tokenizer": PartTraining(
            starts_after=0, batch_size=8, first_steps=2000, steps_per_iteration=120, learning_rate=1e-3
        ),
        "world_model": PartTraining(
            starts_after=0,
            batch_size=16,
            first_steps=1000,
            steps_per_iteration=100,
            learning_rate=1e-3,
            weight_decay=0.01,
        ),
        "actor_critic": PartTraining(starts_after=2, batch_size=64, steps_per_iteration=50, learning_rate=5e-4),
    },
    values="two_hot",
    discount=0.98,
    entropy_weight=0.01,
)

PRESETS = {
    "delta-iris-atari100k": Preset(
        "The paper: Δ-IRIS on an Atari game, 100 000 steps. Needs a GPU.",
        {
            "algorithm": DeltaIrisConfig(),
            "env": {"kind": "atari"},
            "learner": {"precision": "bfloat16"},
            "collection": {"first_steps": 2_000, "last_iteration": 491},
            "evaluation": {"every": 25, "episodes": 32, "temperature": 1.0},
        },
        is_published=True,
    ),
    "delta-iris-crafter": Preset(
        "The paper: Δ-IRIS on Crafter, 10 000 000 steps. Needs a GPU, 125 GB disk.",
        {
            "iterations": 1_000,
            "algorithm": CRAFTER,
            "env": {"kind": "crafter"},
            "learner": {"precision": "bfloat16"},
            "collection": {
                "first_steps": 100_000,
                "steps_per_iteration": 10_000,
                "last_iteration": 991,
                "envs_per_collector": 16,
                "env_processes": 16,
            },
            "evaluation": {"every": 50, "episodes": 64, "temperature": 1.0, "envs_per_evaluator": 32},
        },
        is_published=True,
    ),
    "delta-iris-demo": Preset(
        "UpNDown with small networks, five minutes or more on two CPU cores.",
        {
            "iterations": 14,
            "algorithm": DEMO,
            "env": {"kind": "atari", "game": "UpNDown", "evaluation_max_frames": 2_000},
            "collection": {
                "steps_per_iteration": 500,
                "last_iteration": 14,
                "epsilon": 0.05,
                "envs_per_collector": 4,
            },
            "evaluation": {
                "every": 7,
                "episodes": 32,
                "final_episodes": 100,
                "temperature": 1.0,
                "envs_per_evaluator": 25,
                "num_evaluators": 2,
            },
            "inspect_every": 7,
            "log_every": 20,
        },
    ),
    "delta-iris-atari-small": Preset(
        "Krull with small networks, for two CPU cores; not yet trained to its end.",
        {
            "iterations": 32,
            "algorithm": ATARI_SMALL,
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
                "temperature": 1.0,
                "envs_per_evaluator": 16,
                "num_evaluators": 2,
            },
        },
    ),
    "delta-iris-crafter-small": Preset(
        "Crafter with small networks, an hour or two on two CPU cores.",
        {
            "iterations": 80,
            "algorithm": CRAFTER_SMALL,
            "env": {"kind": "crafter"},
            "collection": {
                "first_steps": 5_000,
                "steps_per_iteration": 1_000,
                "last_iteration": 80,
                "envs_per_collector": 16,
            },
            "evaluation": {
                "every": 20,
                "episodes": 32,
                "final_episodes": 100,
                "temperature": 1.0,
                "envs_per_evaluator": 25,
                "num_evaluators": 2,
            },
        },
    ),
    "delta-iris-catch": Preset(
        "Catch, the smallest game, with small networks, for a laptop.",
        {
            "iterations": 40,
            "algorithm": CATCH,
            "env": {"kind": "catch"},
            "collection": {"last_iteration": 40},
            "evaluation": {
                "every": 1,
                "episodes": 100,
                "final_episodes": 100,
                "envs_per_evaluator": 25,
                "num_evaluators": 2,
            },
            "inspect_every": 10,
        },
    ),
    "delta-iris-debug": Preset(
        "Seconds: tiny networks on Catch, to see the machinery work.",
        {
            "iterations": 3,
            "algorithm": DEBUG,
            "env": {"kind": "catch"},
            "collection": {"first_steps": 30, "steps_per_iteration": 20},
            "evaluation": {"every": 2, "episodes": 2, "final_episodes": 3, "envs_per_evaluator": 2},
            "inspect_every": 2,
            "log_every": 1,
        },
    ),
}
