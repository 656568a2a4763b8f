"""Results in files: those of others to read, all of a report to write."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.envs.games import check_game
from learners.reading import open_regular
from pipeline.errors import UsageError
from pipeline.scores.run_scores import LARGEST, NOT_STATED, STATED, ComparedAlgorithm, RunScore

COLUMNS = ("algorithm", "game", "seed", "score")
PROTOCOL_COLUMN = "protocol"
"""May follow the others."""
OTHER_GAMES = ("crafter", "catch")
"""That a file may name beside those of Atari 100k."""


def read_csv(path: Path) -> list[RunScore]:
    """Results in a file with the columns `algorithm,game,seed,score`, and perhaps `protocol`.

    Raises: UsageError at the first line that is wrong.
    """
    try:
        # A spreadsheet's begins with a byte order mark.
        with open(open_regular(path), newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            columns = tuple(lines.fieldnames or ())
            if columns not in (COLUMNS, (*COLUMNS, PROTOCOL_COLUMN)):
                expected = f"{','.join(COLUMNS)} and perhaps {PROTOCOL_COLUMN}"
                raise UsageError(f"{path}: found columns {','.join(columns)!r}, expected {expected}")
            results = [_score_in(line, path, lines.line_num) for line in lines]
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: found bytes that are no text, expected a CSV file") from error
    if not results:
        raise UsageError(f"{path}: found no line below its columns, expected at least one score")
    return results


def to_csv(algorithms: Sequence[ComparedAlgorithm]) -> str:
    """What `read_csv` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, PROTOCOL_COLUMN])
    for algorithm in algorithms:
        for each in algorithm.results:
            writer.writerow((algorithm.name, each.game, each.seed, repr(each.score), algorithm.protocol))
    return text.getvalue()


def _score_in(line: Mapping[str, str], path: Path, number: int) -> RunScore:
    try:
        if None in line.values() or None in line:
            raise ValueError(f"found {len([each for each in line.values() if each])} values, expected one a column")
        if not re.fullmatch(r"[0-9]+", line["seed"]):
            raise ValueError(f"found a seed of {line['seed']!r}, expected a whole number")
        return RunScore(
            algorithm=_text(line, "algorithm"),
            game=_game(line["game"]),
            seed=int(line["seed"]),
            score=_score(line["score"]),
            protocol={STATED: _text(line, PROTOCOL_COLUMN) if line.get(PROTOCOL_COLUMN) else NOT_STATED},
            source=path,
        )
    except ValueError as error:
        raise UsageError(f"{path}, line {number}: {error}") from error


def _text(line: Mapping[str, str], column: str) -> str:
    """Without space around it; with letters that can be drawn and nothing else."""
    text = line[column].strip()
    if not text or not text.isprintable():
        raise ValueError(f"found {column} {line[column]!r}, expected a line of text")
    return text


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if "_" in text or not abs(score) <= LARGEST:  # nor is NaN
        raise ValueError(f"found a score of {text!r}, expected a number of at most {LARGEST:g}")
    return score


def _game(name: str) -> str:
    return name if name in OTHER_GAMES else check_game(name)
