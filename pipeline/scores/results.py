"""Scores of runs, from run directories and from files of others, and which of them may be averaged."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from actors.config import Protocol
from actors.envs.games import check_game
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.evaluation import Evaluation, in_words, protocol_of, read
from pipeline.metrics import read_records
from pipeline.presets import published_like
from pipeline.run_dir import CONFIG_FILE, EVALUATION_FILE, METRICS_FILE, SCORES_FILE
from pipeline.scores.aggregates import Runs

COLUMNS = ("algorithm", "game", "seed", "score")
PROTOCOL_COLUMN = "protocol"
"""May follow the others."""
NOT_STATED = "not stated"
LARGEST = 1e12
"""That a score may be; a sum of larger ones could be infinite."""
OTHER_GAMES = ("crafter", "catch")
"""That a file may name beside those of Atari 100k."""


@dataclass(frozen=True)
class Result:
    """What one run came to."""

    algorithm: str
    """Of a run of ours, its preset."""
    game: str
    seed: int
    score: float
    """Mean over episodes, in the game's own units."""
    protocol: str
    """How it was evaluated, and after how many steps."""
    source: Path
    """A run's directory, or a file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that could make two runs of an algorithm different ones, as far as it is known."""
    machine: Mapping[str, str | int] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    """Of every iteration."""
    success_rates: Mapping[str, float] = field(default_factory=dict)
    """Achievement -> per cent of training episodes."""
    deviations: Sequence[str] = ()
    """From the protocol that is published for its algorithm and game; none where there is no such."""

    @property
    def variant(self) -> dict[str, Any]:
        """What all runs of an aggregate must have in common."""
        return {PROTOCOL_COLUMN: self.protocol, **self.settings}


@dataclass(frozen=True)
class Algorithm:
    """Runs that may be averaged: of one configuration, evaluated in one way, a seed and game once."""

    name: str
    results: Sequence[Result]

    @property
    def protocol(self) -> str:
        return self.results[0].protocol

    @property
    def runs(self) -> Runs:
        """Game -> scores, both in order."""
        games: dict[str, list[float]] = {}
        for result in sorted(self.results, key=lambda each: (each.game, each.seed)):
            games.setdefault(result.game, []).append(result.score)
        return {game: np.array(scores) for game, scores in games.items()}


def read_runs(directories: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """Results of all finished runs in or below the directories, and notes on what is left out.

    A run's result is what `pipeline.evaluate` has written about its last commit, else its own last evaluation.

    Raises: UsageError if there is no run in one of them, or a file is damaged.
    """
    results, notes = dict[Path, Result](), list[str]()
    for root in directories:
        runs = sorted(path.parent for path in root.glob(f"**/{CONFIG_FILE}"))
        if not runs:
            raise UsageError(f"{root}: found no run there, expected a directory of runs")
        for run in runs:
            if run.resolve() in results:
                continue
            if isinstance(found := _result_of(run, notes), Result):
                results[run.resolve()] = found
    return list(results.values()), list(dict.fromkeys(notes))


def read_csv(path: Path) -> list[Result]:
    """Results in a file with the columns `algorithm,game,seed,score`, and perhaps `protocol`.

    Raises: UsageError at the first line that is wrong.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # a spreadsheet's begins with a byte order mark
            lines = csv.DictReader(file)
            columns = tuple(lines.fieldnames or ())
            if columns not in (COLUMNS, (*COLUMNS, PROTOCOL_COLUMN)):
                expected = f"{','.join(COLUMNS)} and perhaps {PROTOCOL_COLUMN}"
                raise UsageError(f"{path}: found columns {','.join(columns) or 'of no name'}, expected {expected}")
            results = [_result_in(line, path, number) for number, line in enumerate(lines, 2)]
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: found bytes that are no text, expected a CSV file") from error
    if not results:
        raise UsageError(f"{path}: found no line below its columns, expected at least one score")
    return results


def join(results: Iterable[Result], *, split: bool = False) -> list[Algorithm]:
    """Results by algorithm, in the order in which they come.

    Args:
        split: reports runs of one algorithm that must not be averaged as several, named by what differs.

    Raises: UsageError if a seed comes twice, or runs must not be averaged and are not split.
    """
    named: dict[str, list[Result]] = {}
    for result in results:
        named.setdefault(result.algorithm, []).append(result)
    algorithms = [each for name, found in named.items() for each in _variants(name, found, split)]
    for algorithm in algorithms:
        seen: dict[tuple[str, int], Result] = {}
        for result in algorithm.results:
            if other := seen.get((result.game, result.seed)):
                where = f"{other.source} and {result.source}"
                raise UsageError(f"{algorithm.name}, {result.game}: found seed {result.seed} twice ({where})")
            seen[result.game, result.seed] = result
    return algorithms


def _variants(name: str, results: Sequence[Result], split: bool) -> Iterator[Algorithm]:
    variants: dict[str, list[Result]] = {}
    for result in results:
        variants.setdefault(json.dumps(result.variant, sort_keys=True), []).append(result)
    firsts = [found[0] for found in variants.values()]
    if len(firsts) == 1:
        yield Algorithm(name, results)
        return
    keys = dict.fromkeys(key for each in firsts for key in each.variant)
    differing = [key for key in keys if len({json.dumps(each.variant.get(key)) for each in firsts}) > 1]
    if not split:
        key, one = differing[0], firsts[0]
        two = next(each for each in firsts if each.variant.get(key) != one.variant.get(key))
        found = [f"{each.variant.get(key, NOT_STATED)} ({each.source})" for each in (one, two)]
        raise UsageError(
            f"{name}: {key}: found {found[0]} and {found[1]}, expected one protocol and configuration in an aggregate;"
            " --split reports them apart"
        )
    for found in variants.values():
        label = "; ".join(f"{key} {found[0].variant.get(key, NOT_STATED)}" for key in differing)
        yield Algorithm(f"{name} [{label}]", found)


def _result_of(run: Path, notes: list[str]) -> Result | None:
    """None, and a note why, if it is not finished, or was made longer since it was."""
    try:
        config = RunConfig.model_validate_json((run / CONFIG_FILE).read_bytes())
    except (ValidationError, OSError) as error:
        raise UsageError(f"{run / CONFIG_FILE}: damaged, expected the configuration of a run") from error
    if not (run / SCORES_FILE).is_file() or (found := _read(run / SCORES_FILE)).iterations != config.iterations:
        notes.append(f"left out, not finished: {run}")
        return None
    if (run / EVALUATION_FILE).is_file():
        evaluation = _read(run / EVALUATION_FILE)
        if evaluation.checkpoint == found.checkpoint:
            found = evaluation
        else:
            notes.append(f"not used, of an older commit than the last: {run / EVALUATION_FILE}")
    if found.lost_steps:
        notes.append(f"learnt from steps of which {found.lost_steps} are lost since: {run}")
    return Result(
        algorithm=found.preset,
        game=found.game,
        seed=found.seed,
        score=found.score_mean,
        protocol=in_words(found.protocol),
        source=run,
        settings={name: each for name, each in _flat(config.identity()) if not name.startswith(_NOT_SETTINGS)},
        machine=found.machine,
        metrics=_read_metrics(run),
        success_rates=found.success_rates,
        deviations=_deviations(config, found.protocol),
    )


def _deviations(config: RunConfig, protocol: Protocol) -> list[str]:
    if not (published := published_like(config)):
        return []
    steps, episodes = published.planned_steps(published.iterations), published.evaluation.final_episodes
    expected = protocol_of(published.env, published.evaluation, steps=steps, episodes=episodes)
    return [
        f"{name} {protocol.get(name, NOT_STATED)} (published: {value})"
        for name, value in expected.items()
        if protocol.get(name) != value
    ]


_NOT_SETTINGS = ("preset", "seed", "env.game", "env.evaluation_max_frames", "evaluation.")
"""How the names begin of what may differ between runs that are averaged; how they are evaluated is in the protocol."""


def _read(path: Path) -> Evaluation:
    try:
        return read(path)
    except (ValueError, OSError) as error:
        mends = "pipeline.evaluate" if path.name == EVALUATION_FILE else "the command that trained the run"
        raise UsageError(f"{path}: damaged ({error}); {mends} writes it anew") from error


def _read_metrics(run: Path) -> list[dict[str, Any]]:
    """What a run measured of itself, an iteration each. Raises: UsageError if metrics.jsonl is damaged."""
    path = run / METRICS_FILE
    try:
        return read_records(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: damaged ({error}); the command that trained the run mends it") from error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _result_in(line: Mapping[str, str], path: Path, number: int) -> Result:
    try:
        if None in line.values() or None in line:
            raise ValueError(f"found {len([each for each in line.values() if each])} values, expected one a column")
        score = float(line["score"])
        if not abs(score) <= LARGEST:  # nor is NaN
            raise ValueError(f"found a score of {line['score']}, expected a number of at most {LARGEST:g}")
        if not line["algorithm"].strip():
            raise ValueError("found no name of an algorithm, expected one")
        protocol = line.get(PROTOCOL_COLUMN) or NOT_STATED
        return Result(line["algorithm"], _check_game(line["game"]), int(line["seed"]), score, protocol, path)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}, line {number}: {error}") from error


def _check_game(name: str) -> str:
    return name if name in OTHER_GAMES else check_game(name)
