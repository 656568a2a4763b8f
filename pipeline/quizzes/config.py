"""Everything that determines a society of quiz models, and named ones. Imports neither torch nor numpy."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from cluster.config import ProcessesConfig
from learners.config import MAY_CHANGE, Config
from learners.quizzes.config import (
    GenerationConfig,
    GridConfig,
    QuizNetworkConfig,
    QuizTrainingConfig,
    SocietyConfig,
    ValidationConfig,
    WorldConfig,
)
from pipeline.config import NO_FLAG


class QuizzesConfig(Config):
    """Models that learn a world of quizzes, make up quizzes for each other, and learn those."""

    preset: Annotated[str, NO_FLAG]
    """Name of the preset this configuration started from."""
    seed: NonNegativeInt = 0
    """Of all randomness."""
    rounds: Annotated[int, Field(ge=1, le=1_000_000), MAY_CHANGE] = 100
    """In each of which some models train, after quizzes were made up if all were good enough. May grow."""
    society: SocietyConfig = SocietyConfig()
    keep: Annotated[int, Field(ge=3), MAY_CHANGE] = 3
    """Newest checkpoints that are not deleted; if one is damaged, it goes back to the one before."""
    cluster: Annotated[ProcessesConfig, MAY_CHANGE] = ProcessesConfig()
    log_every: Annotated[PositiveInt, MAY_CHANGE] = 50
    """Gradient steps per call to a model: how often progress is shown."""

    def identity_hash(self) -> str:
        """sha256 of `identity`: what must not change when it is gone on with."""
        return sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()


SMALL_GRID = GridConfig(size=4, colours=4, rectangles=2, least_side=1, least_area=2, most_area=9)
SMALL = SocietyConfig(
    models=3,
    world=WorldConfig(grid=SMALL_GRID, tasks=("replace_color", "detect", "half_fill")),
    network=QuizNetworkConfig(
        layers=3, heads=4, embedding_size=64, dropout=0.0, positions="factorised", embedding_std=1.0
    ),
    training=QuizTrainingConfig(
        sequences=16_000,
        batch_size=16,
        learning_rate=3e-3,
        last_learning_rate=2e-4,
        warm_up=100,
        weight_decay=0.01,
        max_gradient_norm=1.0,
    ),
    generation=GenerationConfig(hot=2.0, most_batches=100),
    validation=ValidationConfig(wanted=1_100, held_out=100),
    threshold=0.9,
    trained_at_once=3,
    tests=600,
)
DEBUG = SMALL.model_copy(
    update={
        "world": WorldConfig(
            grid=GridConfig(size=3, colours=3, rectangles=2, least_side=1, least_area=1, most_area=4),
            tasks=("replace_color",),
        ),
        "network": QuizNetworkConfig(layers=1, heads=2, embedding_size=16, dropout=0.0, embedding_std=1.0),
        "training": QuizTrainingConfig(sequences=32, batch_size=8, learning_rate=2e-3),
        "generation": GenerationConfig(hot=2.0, batch=8, most_batches=2),
        "validation": ValidationConfig(wanted=6, held_out=2, least_failures=0, most_failures=0, undecided=True),
        "threshold": 0.0,
        "tests": 8,
    }
)


def presets() -> dict[str, tuple[str, QuizzesConfig]]:
    """Name -> what it is for, and the society."""
    return {
        "quizzes-small": (
            "Three small models, 4 × 4 cells, for two CPU cores.",
            QuizzesConfig(preset="quizzes-small", rounds=10, society=SMALL),
        ),
        "quizzes-talk": (
            "The talk's five GPTs of 38 million parameters. Needs a GPU each.",
            QuizzesConfig(preset="quizzes-talk", rounds=1_000),
        ),
        "quizzes-debug": (
            "Seconds: tiny models, to see the machinery work.",
            QuizzesConfig(preset="quizzes-debug", rounds=3, society=DEBUG, log_every=2),
        ),
    }
