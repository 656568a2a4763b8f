"""How many moments a second can be shown of an agent: steps of each way of looking, one after another, as the page of
`python -m pipeline.play` takes them (on one thread), without the browser.

    python -m benchmarks.play --run runs/atari-demo-UpNDown-seed0 --out benchmarks/results/play_cpu_demo.json
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.question import Question
from pipeline.trained import load
from pipeline.viewer.visit import MODES, Command, Visit

PROMISED_PER_S = 15.0
WARM_UP = 3


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("play", "moments a second that the page can show of an agent", __doc__)
    question.flags.add_argument("--run", type=Path, required=True, help="a run whose world model has been trained")
    question.flags.add_argument("--steps", type=int, default=100)
    flags = question.ask(argv)
    start = time.perf_counter()
    trained = load(flags.run)
    loaded_s = time.perf_counter() - start
    rates = {}
    for mode in MODES:
        visit = Visit(trained)
        visit.obey(Command.model_validate({"mode": mode}))
        for _ in range(WARM_UP):
            visit.advance()
        start = time.perf_counter()
        for _ in range(flags.steps):
            visit.advance()
        rates[mode] = flags.steps / (time.perf_counter() - start)
    run = {"preset": trained.config.preset, "game": trained.config.game, "iteration": trained.iteration}
    question.answer({"run": run, "loaded_s": loaded_s, "promised_per_s": PROMISED_PER_S, "per_s": rates})


if __name__ == "__main__":
    main()
