"""Do small models learn the world, make up quizzes that all but one solve, and learn those?

Each row is a run of `python -m pipeline.quizzes`, one seed of one arm, and what is measured of it; it is written when
it is known, and the same command goes on with what is missing.

    python -m benchmarks.quizzes --seeds 3 --out benchmarks/results/quizzes.json

Arms: `once` is the preset as it is; `cold` makes quizzes up at temperature 1; `unanimous` keeps what all solve;
`alone` trains on no culture. Of `once` a table follows: for eight pairs of temperatures, how many of 600 quizzes are
solved by how many models; and the same of models that have learnt nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import describe
from learners.quizzes.config import GenerationConfig, SocietyConfig
from learners.quizzes.culture import Culture, Harvest
from learners.quizzes.learner import QuizLearner
from learners.quizzes.statistics import explaining_tasks
from learners.quizzes.validation import FAILS
from learners.streams import Streams
from pipeline.quizzes.__main__ import main as play
from pipeline.quizzes.config import QuizzesConfig
from pipeline.quizzes.directory import SocietyDirectory
from pipeline.quizzes.pictures import save_sheet
from pipeline.records import Record, read_records

ARMS = {
    "once": [],
    "cold": ["--society.generation.hot", "1"],
    "unanimous": [
        *("--society.validation.least-failures", "0", "--society.validation.most-failures", "0"),
        *("--society.validation.least-passes", "3"),
    ],
    "alone": ["--society.culture-share", "0"],
}
HOT, COLD = (1.0, 1.5, 2.0, 3.0), (0.5, 1.0)
MADE_UP = 600
"""Quizzes of each row of a table."""
DRAWN = 20
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quizzes-small")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 .. SEEDS - 1")
    parser.add_argument("--runs", type=Path, default=Path("runs/quizzes"), help="where the runs are kept")
    parser.add_argument("--out", type=Path, required=True, help="file of the rows; those it has are kept")
    parser.add_argument("--picture", type=Path, help="PNG of twenty quizzes that no task of the world explains")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="of every run, last on the line")
    flags = parser.parse_args(argv)
    rows: list[Row] = json.loads(flags.out.read_text())["rows"] if flags.out.exists() else []
    arms: list[str] = flags.arms
    for seed, arm in product(range(flags.seeds), arms):
        if (arm, seed) in {(row["arm"], row["seed"]) for row in rows}:
            continue
        rows.append(measure(flags.preset, arm, seed, flags.runs, flags.flags))
        answer = {"question": "do models make up quizzes that teach them something", "rows": rows}
        flags.out.write_text(json.dumps(answer, indent=1) + "\n")
        print(json.dumps(rows[-1]), file=sys.stderr)
    if flags.picture:
        draw_novel(flags.runs / "once-seed0", flags.picture)


def measure(preset: str, arm: str, seed: int, runs: Path, more: Sequence[str]) -> Row:
    path, line = runs / f"{arm}-seed{seed}", [preset, "--seed", str(seed), *ARMS[arm], *more]
    code = play([*line, "--run-dir", str(path)])
    assert code == 0, code
    timings = read_records(path / "timings.jsonl")
    row: Row = {
        "arm": arm,
        "seed": seed,
        **told(read_records(path / "metrics.jsonl")),
        "seconds": round(sum(each["total"] for each in timings), 1),
        "command": " ".join(["python -m pipeline.quizzes", *line]),
        "hardware": describe(),
    }
    directory = SocietyDirectory.open(path)
    try:
        config = directory.config()
        checkpoint = directory.commits(config).newest()
        assert checkpoint
        row |= attributed([directory.read(config, link) for link in checkpoint.state.culture], config)
        if arm == "once":
            row["table"] = table(config, checkpoint.path)
            row["untrained"] = table(config, None)
    finally:
        directory.close()
    return row


def draw_novel(path: Path, picture: Path) -> None:
    """The newest of a society's quizzes that no task of the world explains."""
    directory = SocietyDirectory.open(path)
    try:
        config = directory.config()
        checkpoint = directory.commits(config).newest()
        assert checkpoint
        newest = directory.read(config, checkpoint.state.culture[-1])
    finally:
        directory.close()
    explained = [explaining_tasks(config.society.world.tasks, *quiz) for quiz in zip(*newest.quizzes, strict=True)]
    save_sheet(picture, newest.of(np.array([not tasks for tasks in explained])).cut(0, DRAWN))


def told(records: Sequence[Record]) -> Row:
    """Accuracies before the first quizzes were made up and at the end; what came of each round that made some."""
    made = [number for number, record in enumerate(records) if "culture/generated" in record]
    before = newest(records[: made[0]] if made else records)
    return {
        "rounds": len(records),
        "first_culture_in_round": records[made[0]]["iteration"] if made else None,
        "world_before": {name: value for name, value in before.items() if "/world/accuracy" in name},
        "at_the_end": {name: value for name, value in newest(records).items() if "accuracy" in name or "once" in name},
        "culture": [{name: value for name, value in records[number].items() if is_of_culture(name)} for number in made],
    }


def is_of_culture(metric: str) -> bool:
    """What was made up in a round; and after its epoch what each model solves of it, of the world, and of what it
    once failed."""
    return metric.startswith(("culture/", "iteration")) or metric.endswith(
        ("/culture/accuracy", "/world/accuracy", "once failed")
    )


def newest(records: Sequence[Record]) -> Record:
    """The last value of each metric of a model."""
    return {name: value for record in records for name, value in record.items() if name.startswith("model ")}


def attributed(cultures: Sequence[Culture], config: QuizzesConfig) -> Row:
    """Who made up what is kept, and who failed it."""
    authors, failing = np.zeros(config.society.models, np.int64), np.zeros(config.society.models, np.int64)
    for culture in cultures:
        authors += np.bincount(culture.authors, minlength=len(authors))
        failing += (culture.votes == FAILS).sum(axis=0)
    return {"made_up_by": authors.tolist(), "failed_by": failing.tolist()}


def table(config: QuizzesConfig, path: Path | None) -> list[Row]:
    """By temperatures: what becomes of quizzes that the models of a commit make up, or that untrained ones do."""
    rows = []
    for hot, cold in product(HOT, COLD):
        generation = GenerationConfig(hot=hot, cold=cold, batch=MADE_UP // config.society.models)
        society = SocietyConfig.model_validate(config.society.model_dump() | {"generation": generation.model_dump()})
        models = [QuizLearner(society, number, seed=config.seed) for number in range(society.models)]
        for model in models if path else ():
            model.load(str(path))
        harvest = Harvest(society.validation, society.models, (), Streams(config.seed), 0)
        offered = harvest.offer([model.generate(0, 0)[0] for model in models], 0)
        harvest.take(offered, np.stack([model.judge(offered.cells) for model in models], axis=1))
        counts = harvest.counts
        rows.append(
            {
                "hot": hot,
                "cold": cold,
                "generated": counts.generated,
                "trivial": counts.trivial,
                "duplicate": counts.duplicate,
                "understood_by": counts.by_passes,
                "validated": counts.validated,
            }
        )
    return rows


if __name__ == "__main__":
    main()
