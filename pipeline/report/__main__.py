"""`python -m pipeline.report [DIR…] --out DIR [--scores FILE.csv]`: scores of runs, beside the published ones.

Writes `report.html` (everything on one page), `figures/` (PNG and SVG), `table.md`, `table.tex`, `aggregates.json`
(every number of the figures) and `scores.csv` (every run).
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pipeline.cli import Positional, Tool, command, parse_arguments
from pipeline.errors import UsageError

PROGRAM = "python -m pipeline.report"


class Arguments(Tool):
    """Joins the scores of finished runs, and of others' files, with published ones of the Atari 100k benchmark."""

    directories: Annotated[tuple[Path, ...], Positional()] = ()
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
    if any(path.resolve() == (arguments.out / "scores.csv").resolve() for path in arguments.scores):
        raise UsageError(f"--out: found one of --scores where scores.csv would be written, {arguments.out}")
    # What follows loads numpy and matplotlib, which a mistyped flag and --help should not wait for.
    from pipeline.report.comparison import compare
    from pipeline.report.figures import NAMES, draw
    from pipeline.report.page import page
    from pipeline.report.tables import latex, markdown
    from pipeline.scores.finished_runs import read_runs
    from pipeline.scores.published import load
    from pipeline.scores.run_scores import join
    from pipeline.scores.score_files import read_csv, to_csv

    results, notes = read_runs(arguments.directories)
    for path in arguments.scores:
        results += read_csv(path)
    if not results:
        raise UsageError(f"found no finished run, expected at least one; {'; '.join(notes)}")
    algorithms = join(results, split=arguments.split)
    comparison = compare(algorithms, load(arguments.published), notes, common_games=arguments.common_games)
    figures = arguments.out / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: found no directory at {arguments.out}, nor can one be made ({error})") from error
    drawings = draw(comparison)
    files = {
        "scores.csv": to_csv(algorithms),
        "aggregates.json": json.dumps(comparison.to_json(), indent=1, allow_nan=False) + "\n",
        "table.md": markdown(comparison),
        "table.tex": latex(comparison),
        "report.html": page(comparison, drawings, shlex.join([*PROGRAM.split(), *words])),
    }
    for name in NAMES:
        for kind in ("svg", "png"):
            (figures / f"{name}.{kind}").unlink(missing_ok=True)
    for drawing in drawings:
        (figures / f"{drawing.name}.svg").write_bytes(drawing.svg)
        (figures / f"{drawing.name}.png").write_bytes(drawing.png)
    for name, text in files.items():
        (arguments.out / name).write_bytes(_bytes(text))
    for note in comparison.notes:
        print(f"note: {_bytes(note).decode()}")
    print(f"{len(results)} runs of {len(algorithms)} algorithms: {arguments.out / 'report.html'}")
    return 0


def _bytes(text: str) -> bytes:
    """Names of directories may hold what is no text."""
    return text.encode(errors="backslashreplace")


if __name__ == "__main__":
    command(main)
