"""`python -m pipeline.surprise RUN_DIR`: does a world model notice what cannot be?

Episodes are tampered with in one step each: the dot teleports, vanishes, passes through a wall, moves the opposite way,
or stays. How wrong the model's prediction is should tell them from intact ones. Beside it stand a detector of mere
change, and both on networks that have learnt nothing. Works without Ray; the run stays as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt

from cluster.this_process import prepare
from pipeline.cli import Positional, Tool, command, parse_arguments
from pipeline.out_directory import TABLE_FILE, check_out_directory
from pipeline.run_dir import SURPRISE

PROGRAM = "python -m pipeline.surprise"


class Arguments(Tool):
    """Tells tampered episodes from intact ones by the error of a world model's prediction, and writes how well.

    The area under the ROC curve: the probability that the most surprising step of a tampered episode is more surprising
    than that of an intact one; 0.5 is chance.
    """

    run_dir: Annotated[Path, Positional()]
    """What `python -m pipeline.train` wrote, with an algorithm that plans, in rooms."""
    episodes: Annotated[int, Field(ge=2, le=1000)] = 150
    """Of each kind."""
    steps: Annotated[int, Field(ge=4, le=100)] = 12
    """Of an episode."""
    seed: NonNegativeInt = 0
    """Of the episodes, and of the networks that have learnt nothing."""
    out: Path | None = None
    """Directory to write; default: surprise/ in the run's."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, PROGRAM)
    out = arguments.out or arguments.run_dir / SURPRISE
    check_out_directory(out)
    prepare(threads=1)  # small networks gain nothing from more
    # What follows loads torch and the games, which a mistyped flag and --help should not wait for.
    from learners.durable import write_durably
    from pipeline import media
    from pipeline.detection import detect
    from pipeline.trained import load

    trained = load(arguments.run_dir, arguments.allow_module)
    algorithm = trained.plans
    protocol = arguments.model_dump(include={"episodes", "steps", "seed"})
    print(f"{trained.title}: area under the curve of", flush=True)
    detection = detect(trained, algorithm, **protocol)
    for kind, areas in detection.areas.items():
        print(f"{kind:<10}" + " | ".join(f"{name} {area:.3f}" for name, area in areas.items()))
    out.mkdir(parents=True, exist_ok=True)
    table = {"run": trained.title, "protocol": protocol, "areas": detection.areas}
    write_durably(out / TABLE_FILE, (json.dumps(table, indent=2) + "\n").encode())
    media.save_picture(out / "surprise.png", detection.chart)
    print(f"the same as numbers, and surprise step by step: {out}")
    return 0


if __name__ == "__main__":
    command(main)
