"""Results of our own runs, from their directories."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from actors.config import EvaluationProtocol
from learners.reading import read_text
from pipeline.commit_mark import check_commits
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.evaluation import Evaluation, conditions, protocol_of, read
from pipeline.presets import published_like
from pipeline.records import read_records
from pipeline.run_dir import CONFIG_FILE, EVALUATION_FILE, METRICS_FILE, SCORES_FILE
from pipeline.scores.curves import Points, evaluations
from pipeline.scores.run_scores import LARGEST, NOT_STATED, RunScore

_NOT_SETTINGS = ("preset", "seed", "env.game", "env.id", "env.evaluation_max_frames", "evaluation.")
"""How the names begin of what may differ between runs that are averaged; how they are evaluated is in the protocol."""


def read_runs(directories: Sequence[Path]) -> tuple[list[RunScore], list[str]]:
    """Results of all finished runs in or below the directories, and notes on what is left out.

    A run's result is what `pipeline.evaluate` has written about its last commit, else its own last evaluation.

    Raises: UsageError if there is no run in one of them, a file is damaged, or a run has lost all its commits.
    """
    runs: dict[Path, Path] = {}
    for root in directories:
        if not (found := list(_runs_below(root))):
            raise UsageError(f"{root}: found no run there, expected a directory of runs")
        for run in found:
            runs.setdefault(run.resolve(), run)
    notes: list[str] = []
    results: list[RunScore] = []
    for run in runs.values():
        try:
            found = _score_of(run, notes)
        except ValueError as error:
            raise UsageError(f"{run}: {error}") from error
        results += [found] if found else []
    return results, notes


def _runs_below(root: Path) -> Iterator[Path]:
    """In order; links are followed, and nothing is looked for within a run."""
    seen: set[str] = set()
    for directory, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen or CONFIG_FILE in files:
            below.clear()
        if CONFIG_FILE in files:
            yield Path(directory)
        seen.add(real)
        below.sort()


def _score_of(run: Path, notes: list[str]) -> RunScore | None:
    """None, and a note why, if it is not finished, or was made longer since it was."""
    config = _read_config(run / CONFIG_FILE)
    check_commits(run, config)
    if not (run / SCORES_FILE).is_file() or (found := _read(run / SCORES_FILE, config)).iterations != config.iterations:
        notes.append(f"left out, not finished: {run}")
        return None
    if (run / EVALUATION_FILE).is_file():
        evaluation = _read(run / EVALUATION_FILE, config)
        if evaluation.checkpoint == found.checkpoint:
            found = evaluation
        else:
            notes.append(f"not used, of other weights than the last commit: {run / EVALUATION_FILE}")
    if found.lost_steps:
        notes.append(f"learnt from steps of which {found.lost_steps} are lost since: {run}")
    of_points = {"episodes": config.evaluation.episodes, "episodes of the last": config.evaluation.final_episodes}
    return RunScore(
        algorithm=found.preset,
        game=found.game,
        seed=found.seed,
        score=found.score_mean,
        protocol=found.protocol,
        source=run,
        settings={name: each for name, each in _flat(config.identity()) if not name.startswith(_NOT_SETTINGS)},
        machine=found.machine,
        points=_read_points(run / METRICS_FILE),
        points_protocol={**of_points, **conditions(config.env, config.evaluation)},
        success_rates=found.success_rates,
        floors=found.floors,
        deviations=_deviations(config, found.protocol),
    )


def _deviations(config: RunConfig, protocol: EvaluationProtocol) -> list[str]:
    if not (published := published_like(config)):
        return []
    expected = protocol_of(
        published.env,
        published.evaluation,
        steps=published.planned_steps(published.iterations),
        iterations=published.iterations,
        episodes=published.evaluation.final_episodes,
    )
    return [
        f"{name} {protocol.get(name, NOT_STATED)} (published: {value})"
        for name, value in expected.items()
        if protocol.get(name) != value
    ]


def _read_config(path: Path) -> RunConfig:
    try:
        return RunConfig.model_validate_json(read_text(path))
    except (ValidationError, OSError) as error:
        words = "found no configuration of a run, or a damaged one; expected directories with runs alone"
        raise UsageError(f"{path}: {words}") from error


def _read(path: Path, config: RunConfig) -> Evaluation:
    try:
        found = read(path)
        if (found.preset, found.game, found.seed) != (config.preset, config.game, config.seed):
            raise ValueError(f"of another run: {found.preset}, {found.game}, seed {found.seed}")
        if abs(found.score_mean) > LARGEST:
            raise ValueError(f"found a score of {found.score_mean:g}, expected one of at most {LARGEST:g}")
        return found
    except (ValueError, OSError) as error:
        mends = "pipeline.evaluate" if path.name == EVALUATION_FILE else "the command that trained the run"
        raise UsageError(f"{path}: damaged ({error}); {mends} writes it anew") from error


def _read_points(path: Path) -> Points:
    try:
        points = evaluations(read_records(path))
        for steps, score in points.items():
            if not (isinstance(steps, int) and isinstance(score, float) and abs(score) <= LARGEST):
                raise ValueError(f"found a score of {score} after {steps} steps")
        return points
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: damaged ({error}); the command that trained the run mends it") from error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
