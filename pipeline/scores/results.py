"""Scores of runs, from run directories and from files of others."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.envs.games import check_game
from pipeline.errors import UsageError
from pipeline.run_dir import CONFIG_FILE, SCORES_FILE
from pipeline.scores.aggregates import Runs

COLUMNS = ("algorithm", "game", "seed", "score")


@dataclass(frozen=True)
class Result:
    """What one run came to."""

    algorithm: str
    """Of a run of ours, its preset."""
    game: str
    seed: int
    score: float
    """Mean over the episodes of its last evaluation, in the game's own units."""
    protocol: str
    """How it was evaluated, and after how many steps."""
    source: Path


def read_runs(directories: Sequence[Path]) -> tuple[list[Result], list[Path]]:
    """Results of all finished runs in or below the directories, and the runs that are not finished.

    Raises: UsageError if there is no run at all, or a file is damaged.
    """
    runs = sorted({path.parent for root in directories for path in root.glob(f"**/{CONFIG_FILE}")})
    if not runs:
        raise UsageError(f"{', '.join(map(str, directories))}: found no run there, expected directories of runs")
    found = {run: _result_of(run) for run in runs}
    return [each for each in found.values() if each], [run for run, each in found.items() if not each]


def read_csv(path: Path) -> list[Result]:
    """Results in a file with the columns `algorithm,game,seed,score`.

    Raises: UsageError at the first line that is wrong.
    """
    try:
        with open(path, newline="") as file:
            lines = csv.DictReader(file)
            if tuple(lines.fieldnames or ()) != COLUMNS:
                raise UsageError(f"{path}: found columns {lines.fieldnames}, expected {','.join(COLUMNS)}")
            return [_result_in(line, path, number) for number, line in enumerate(lines, 2)]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: found bytes that are no text, expected a CSV file") from error


def by_algorithm(results: Iterable[Result]) -> dict[str, Runs]:
    """Algorithm -> game -> scores, in the order of seeds.

    Raises: UsageError if a seed comes twice, or runs of one algorithm were evaluated in different ways.
    """
    found: dict[str, dict[str, dict[int, Result]]] = {}
    protocols: dict[str, Result] = {}
    for result in results:
        first = protocols.setdefault(result.algorithm, result)
        if first.protocol != result.protocol:
            words = f"found {first.protocol} ({first.source}) and {result.protocol} ({result.source})"
            raise UsageError(f"{result.algorithm}: {words}, expected one protocol in an aggregate")
        seeds = found.setdefault(result.algorithm, {}).setdefault(result.game, {})
        if other := seeds.get(result.seed):
            where = f"{other.source} and {result.source}"
            raise UsageError(f"{result.algorithm}, {result.game}: found seed {result.seed} twice ({where})")
        seeds[result.seed] = result
    return {
        algorithm: {game: np.array([seeds[seed].score for seed in sorted(seeds)]) for game, seeds in games.items()}
        for algorithm, games in found.items()
    }


def _result_of(run: Path) -> Result | None:
    """None if it is not finished, or was made longer since it was."""
    if not (run / SCORES_FILE).is_file():
        return None
    try:
        scores, config = (json.loads((run / name).read_text()) for name in (SCORES_FILE, CONFIG_FILE))
        if scores["iterations"] != config["iterations"]:
            return None
        environment = {name: value for name, value in config["env"].items() if name != "game"}
        settings = [f"{name} {value}" for name, value in sorted({**scores["protocol"], **environment}.items())]
        protocol = f"{scores['steps']} steps, {len(scores['episodes'])} episodes, {', '.join(settings)}"
        return Result(scores["preset"], scores["game"], scores["seed"], scores["score_mean"], protocol, run)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{run / SCORES_FILE}: damaged ({error}); the command that trained the run mends it"
        ) from error


def _result_in(line: Mapping[str, str], path: Path, number: int) -> Result:
    try:
        score = float(line["score"])
        if not math.isfinite(score):
            raise ValueError(f"found a score of {line['score']}, expected a number")
        return Result(line["algorithm"], check_game(line["game"]), int(line["seed"]), score, f"as in {path.name}", path)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}, line {number}: {error}") from error
