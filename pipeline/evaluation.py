"""What an agent scored, how that was measured, and with which weights: the form of scores.json and evaluation.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from actors.config import EnvironmentConfig, EvaluationConfig, EvaluationProtocol
from learners.reading import read_text
from pipeline.checkpoint import Checkpoint
from pipeline.config import RunConfig
from pipeline.records import records_of
from pipeline.run_dir import METRICS_FILE
from pipeline.scores.crafter import crafter_score, success_rates


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Episode(_Form):
    seed: NonNegativeInt
    """Of the evaluation; the run's own after its last iteration."""
    index: NonNegativeInt
    """Within that seed."""
    score: float
    """Sum of rewards, in the game's own units."""
    length: NonNegativeInt
    """Agent steps."""


class Evaluation(_Form):
    """Whole episodes of one agent, played under one protocol."""

    preset: str
    game: str
    seed: NonNegativeInt
    """Of the run."""
    iterations: NonNegativeInt
    """That the agent has learnt."""
    steps: NonNegativeInt
    """Environment steps it has learnt from."""
    lost_steps: NonNegativeInt
    """How many of them are lost from the replay store, where that was accepted."""
    checkpoint: str
    """sha256 of what holds its weights; "" if it has learnt nothing."""
    protocol: EvaluationProtocol
    """Everything besides the weights that the scores depend on, and how much they had learnt."""
    machine: dict[str, str | int]
    """That trained it, with versions; empty if none did."""
    score_mean: float
    score_std: float
    """Of the population: divided by the number of episodes."""
    episodes: list[Episode] = Field(min_length=1)
    success_rates: dict[str, float]
    """Achievement -> per cent of all episodes of its training in which it was reached; empty in games without any."""
    floors: dict[str, float] = {}
    """Who looks at nothing -> mean score in the same episodes, if the game has goals and was played since."""

    @classmethod
    def of(
        cls,
        config: RunConfig,
        checkpoint: Checkpoint | None,
        protocol: EvaluationProtocol,
        episodes: Sequence[Episode],
        floors: Mapping[str, float] = MappingProxyType({}),
    ) -> Self:
        """Without a checkpoint, of play that has learnt nothing."""
        learnt: dict[str, Any] = {"iterations": 0, "steps": 0, "lost_steps": 0, "checkpoint": ""}
        learnt |= {"machine": {}, "success_rates": {}}
        if checkpoint:
            learnt = {
                "iterations": checkpoint.iteration,
                "steps": checkpoint.state.steps,
                "lost_steps": sum(each.steps for each in checkpoint.state.lost),
                "checkpoint": checkpoint.hash,
                "machine": checkpoint.state.machine,
                "success_rates": success_rates(records_of(checkpoint.read(METRICS_FILE))),
            }
        scores = [episode.score for episode in episodes]
        return cls(
            preset=config.preset,
            game=config.game,
            seed=config.seed,
            protocol=protocol,
            score_mean=float(np.mean(scores)),
            score_std=float(np.std(scores)),
            episodes=list(episodes),
            floors=dict(floors),
            **learnt,
        )

    @property
    def standard_error(self) -> float:
        """Of the mean score, in its units, by how much episodes differ; nan if there is only one."""
        others = len(self.episodes) - 1
        return self.score_std / sqrt(others) if others else nan

    @property
    def summary(self) -> str:
        """For people, in one line."""
        score = f"score {self.score_mean:.2f} ± {self.score_std:.2f} over {len(self.episodes)} episodes"
        crafter = f"; Crafter score in training {crafter_score(self.success_rates):.2f} %" if self.success_rates else ""
        learnt = f"after {self.iterations} iterations and {self.steps} steps"
        floors = "".join(f"; {name} {score:.2f}" for name, score in self.floors.items())
        return f"{self.game}, seed {self.seed}: {score} {learnt}{crafter}{floors}"

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()


def read(path: Path) -> Evaluation:
    """Raises: ValueError, in one line, if the file is damaged; OSError."""
    try:
        return Evaluation.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def protocol_of(
    env: EnvironmentConfig,
    evaluation: EvaluationConfig,
    *,
    steps: int,
    iterations: int,
    episodes: int,
    seeds: int = 1,
    acting: str = "",
) -> EvaluationProtocol:
    """How an agent is evaluated that has learnt from so many steps in so many iterations, and how it acts."""
    learnt: EvaluationProtocol = {"environment steps": steps, "iterations": iterations}
    measured: EvaluationProtocol = {"episodes": episodes, "evaluation seeds": seeds, **conditions(env, evaluation)}
    return {**learnt, **measured, **({"acts by": acting} if acting else {})}


def conditions(env: EnvironmentConfig, evaluation: EvaluationConfig) -> EvaluationProtocol:
    """Under which an episode is played."""
    return {
        "epsilon": evaluation.epsilon,
        "temperature": evaluation.temperature,
        "side by side": evaluation.envs_per_evaluator,
        **env.evaluation_protocol,
    }


def in_words(protocol: EvaluationProtocol) -> str:
    """`environment steps 100000, episodes 100, …`."""
    return ", ".join(f"{name} {_word(value)}" for name, value in protocol.items())


def _word(value: str | int | float | bool) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
