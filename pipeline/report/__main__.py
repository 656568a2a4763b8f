"""`python -m pipeline.report [DIR…] --out DIR [--scores FILE.csv]`: scores of runs, beside the published ones.

Writes `report.html` (everything on one page), `figures/` (PNG and SVG), `table.md`, `table.tex`, `aggregates.json`
(every number of the figures) and `scores.csv` (every run).
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from learners.config import Config
from pipeline.cli import command, parse_arguments
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.scores.results import Algorithm

PROGRAM = "python -m pipeline.report"


class Arguments(Config):
    """Joins the scores of finished runs, and of others' files, with published ones of the Atari 100k benchmark."""

    directories: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Of runs, or with runs somewhere below."""
    out: Path
    """Directory to write to; what a report has written there before is replaced."""
    scores: tuple[Path, ...] = ()
    """CSV files of others' runs, with the columns algorithm,game,seed,score and perhaps protocol."""
    published: Literal["atari100k", "atari100k_8_games"] = "atari100k"
    """The table to stand beside: 26 games, or 8 with newer algorithms."""
    common_games: bool = False
    """Aggregate over the games alone that all algorithms have played."""
    split: bool = False
    """Report runs of a preset that were evaluated or configured differently as several algorithms; otherwise they are
    refused."""


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    arguments = parse_arguments(Arguments, words, PROGRAM)
    if not (arguments.directories or arguments.scores):
        raise UsageError("found nothing to report, expected directories of runs or --scores FILE.csv")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise UsageError(f"--out: found a file at {arguments.out}, expected a directory or nothing")
    # What follows loads numpy and matplotlib, which a mistyped flag and --help should not wait for.
    from pipeline.report.comparison import compare
    from pipeline.report.figures import draw
    from pipeline.report.page import page
    from pipeline.report.tables import latex, markdown
    from pipeline.scores.published import load
    from pipeline.scores.results import join, read_csv, read_runs

    results, notes = read_runs(arguments.directories)
    for path in arguments.scores:
        results += read_csv(path)
    if not results:
        raise UsageError(f"found no finished run, expected at least one; {'; '.join(notes)}")
    algorithms = join(results, split=arguments.split)
    comparison = compare(algorithms, load(arguments.published), notes, common_games=arguments.common_games)
    drawings = draw(comparison)
    files = {
        "scores.csv": _scores_csv(algorithms),
        "aggregates.json": json.dumps(comparison.to_json(), indent=1, allow_nan=False) + "\n",
        "table.md": markdown(comparison),
        "table.tex": latex(comparison),
        "report.html": page(comparison, drawings, shlex.join([*PROGRAM.split(), *words])),
    }
    figures = arguments.out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        (figures / f"{drawing.name}.svg").write_bytes(drawing.svg)
        (figures / f"{drawing.name}.png").write_bytes(drawing.png)
    for name, text in files.items():
        (arguments.out / name).write_text(text, encoding="utf-8")
    for note in comparison.notes:
        print(f"note: {note}")
    print(f"{len(results)} runs of {len(algorithms)} algorithms: {arguments.out / 'report.html'}")
    return 0


def _scores_csv(algorithms: Sequence[Algorithm]) -> str:
    from pipeline.scores.results import COLUMNS, PROTOCOL_COLUMN

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, PROTOCOL_COLUMN])
    for algorithm in algorithms:
        for each in sorted(algorithm.results, key=lambda each: (each.game, each.seed)):
            writer.writerow((algorithm.name, each.game, each.seed, repr(each.score), each.protocol))
    return text.getvalue()


if __name__ == "__main__":
    command(main)
