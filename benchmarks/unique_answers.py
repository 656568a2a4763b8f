"""Has every quiz of the world one answer, and how long does it take to draw them?

    python -m benchmarks.unique_answers --quizzes 10000 --out benchmarks/results/unique_answers.json

For each task, at the talk's 10 × 10 cells: every rule that leads from a to f(a) is applied to b (`explain`, `apply`);
a quiz is counted by how many different answers that gives, and as wrong if f(b) is not among them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import describe
from learners.quizzes.config import TASKS, Task, WorldConfig
from learners.quizzes.tasks import apply, explain, make
from learners.quizzes.training import make_world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quizzes", type=int, default=10_000, help="of each task")
    parser.add_argument("--drawn", type=int, default=100_000, help="quizzes whose drawing is timed: the talk's epoch")
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    started = time.perf_counter()
    make_world(WorldConfig(), flags.drawn, np.random.default_rng(0))
    answer = {
        "question": "has every quiz of the world one answer",
        "drawn": flags.drawn,
        "seconds": round(time.perf_counter() - started, 2),
        "tasks": {task: answers(task, flags.quizzes) for task in TASKS},
        "hardware": describe(),
    }
    flags.out.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer, indent=1))


def answers(task: Task, count: int) -> dict[str, Any]:
    """Quizzes by their number of answers, and how many have a wrong one."""
    by_number: dict[int, int] = {}
    wrong = 0
    for a, fa, b, fb in zip(*make(WorldConfig(), task, count, np.random.default_rng(0)), strict=True):
        made = (apply(task, rule, b) for rule in explain(task, a, fa))
        found = {grid.tobytes() for grid in made if grid is not None}
        by_number[len(found)] = by_number.get(len(found), 0) + 1
        wrong += fb.tobytes() not in found
    return {"quizzes": count, "by number of answers": by_number, "without the right one": wrong}


if __name__ == "__main__":
    main()
