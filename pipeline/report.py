"""`python -m pipeline.report DIR… --out DIR [--scores FILE.csv]`: scores of runs, beside the published ones.

Writes `scores.csv` (every run), `aggregates.json` and `table.md` (games and aggregates with intervals).
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from learners.config import Config
from pipeline.cli import command, parse_arguments

if TYPE_CHECKING:
    from pipeline.scores.aggregates import Runs
    from pipeline.scores.results import Result

WIDE_BELOW = 5
"""Runs of a game; with fewer an interval says little."""


class Arguments(Config):
    """Joins the scores of finished runs, and of others' files, with the published ones of the Atari 100k benchmark."""

    directories: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Of runs, or with runs somewhere below."""
    out: Path
    """Directory to write to."""
    scores: tuple[Path, ...] = ()
    """CSV files of others' runs, with the columns algorithm,game,seed,score."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, "python -m pipeline.report")
    from pipeline.scores.published import load
    from pipeline.scores.results import by_algorithm, read_csv, read_runs

    results, unfinished = read_runs(arguments.directories)
    for path in arguments.scores:
        results += read_csv(path)
    algorithms = by_algorithm(results)
    published = load()
    notes = [f"left out, not finished: {run}" for run in unfinished]
    aggregates: dict[str, Any] = {}
    for algorithm, runs in algorithms.items():
        known = {game: scores for game, scores in runs.items() if game in published.references}
        notes += _warnings(algorithm, runs, known)
        if known:
            aggregates[algorithm] = _aggregates(known)
    arguments.out.mkdir(parents=True, exist_ok=True)
    _write_scores(arguments.out / "scores.csv", results)
    protocols = {result.algorithm: result.protocol for result in results}
    content = {"aggregates": aggregates, "protocols": protocols, "notes": notes}
    (arguments.out / "aggregates.json").write_text(json.dumps(content, indent=1) + "\n")
    (arguments.out / "table.md").write_text(_table(algorithms, content))
    for note in notes:
        print(f"note: {note}")
    print(f"{len(results)} runs of {len(algorithms)} algorithms: {arguments.out / 'table.md'}")
    return 0


def _warnings(algorithm: str, runs: Runs, known: Runs) -> list[str]:
    from pipeline.scores.published import load

    warnings = []
    if other := sorted(runs.keys() - known.keys()):
        warnings.append(f"{algorithm}: not in the aggregates, no human score is known: {', '.join(other)}")
    missing = [game for game in load().references if game not in known]
    if known and missing:
        warnings.append(f"{algorithm}: {len(missing)} of 26 games missing: {', '.join(missing)}")
    if known and (fewest := min(map(len, known.values()))) < WIDE_BELOW:
        warnings.append(f"{algorithm}: {fewest} runs of some game: intervals are wide")
    return warnings


def _aggregates(runs: Runs) -> dict[str, Any]:
    from pipeline.scores.aggregates import AGGREGATES, estimate, human_normalised, superhuman
    from pipeline.scores.published import load

    normalised = {game: human_normalised(scores, load().references[game]) for game, scores in runs.items()}
    found: dict[str, Any] = {name: estimate(normalised, statistic)._asdict() for name, statistic in AGGREGATES.items()}
    return {**found, "superhuman": int(superhuman([each[None] for each in normalised.values()])[0]), "games": len(runs)}


def _write_scores(path: Path, results: Sequence[Result]) -> None:
    from pipeline.scores.results import COLUMNS

    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for each in sorted(results, key=lambda each: (each.algorithm, each.game, each.seed)):
            writer.writerow((each.algorithm, each.game, each.seed, repr(each.score)))


def _table(algorithms: Mapping[str, Runs], content: Mapping[str, Any]) -> str:
    from pipeline.scores.published import load

    published = load()
    games = sorted({game for runs in algorithms.values() for game in runs})
    names = [*algorithms, "random", "human", *published.scores]
    lines = ["| game | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for game in games:
        cells = [f"{runs[game].mean():.1f} ({len(runs[game])})" if game in runs else "" for runs in algorithms.values()]
        if reference := published.references.get(game):
            cells += [f"{value:.1f}" for value in (*reference, *(each[game] for each in published.scores.values()))]
        lines.append(f"| {game} | " + " | ".join(cells + [""] * (len(names) - len(cells))) + " |")
    lines += ["", "In brackets: runs. Published scores: see pipeline/scores/published.py.", ""]
    for algorithm, found in content["aggregates"].items():
        lines += [
            f"**{algorithm}** ({content['protocols'][algorithm]}), human-normalised, over {found['games']} games:",
            "",
        ]
        lines += [
            f"- {name}: {each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f})"
            for name, each in found.items()
            if isinstance(each, dict)
        ]
        lines += [f"- games at a human's level or above: {found['superhuman']}", ""]
    return "\n".join([*lines, *(f"Note: {note}." for note in content["notes"]), ""])


if __name__ == "__main__":
    command(main)
