"""How long does a person wait? Every promise about time, measured on the preset `debug`, five times each.

help, error: `python -m pipeline.train` until it has said what it had to say. start: until the first iteration begins.
stop: from SIGTERM until the process has ended. restart: until the run goes on after its last commit. recovery: from the
SIGKILL of a process until the iteration that it broke off has been played again and is committed, so more than until
there is progress again.

    python -m benchmarks.bounds --out benchmarks/results/bounds.json
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.question import Question

PROMISED_S = {"help": 1.0, "error": 1.0, "stop": 10.0, "recovery": 5.0}
KINDS = ("Collector", "Learner", "Evaluator")
PATIENCE_S = 300.0


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("bounds", "seconds until something a person waits for has happened", __doc__)
    question.flags.add_argument("--repeats", type=int, default=5)
    flags = question.ask(argv)
    seconds: dict[str, list[float]] = {
        "help": [seconds_of(["--help"]) for _ in range(flags.repeats)],
        "error": [seconds_of(["debug", "--sede", "3"]) for _ in range(flags.repeats)],
        "start": [],
        "stop": [],
        "restart": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(flags.repeats):
            for name, found in stop_and_restart(Path(folder) / str(repeat)).items():
                seconds[name].append(found)
        for kind, found in recoveries(Path(folder) / "recovery", flags.repeats).items():
            seconds[f"recovery of {kind}"] = found
    rows = {
        name: {
            "median": statistics.median(found),
            "slowest": max(found),
            "promised": next((limit for promise, limit in PROMISED_S.items() if name.startswith(promise)), None),
        }
        for name, found in seconds.items()
    }
    question.answer({"repeats": flags.repeats, "seconds": rows})


def seconds_of(arguments: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline.train", *arguments], capture_output=True, timeout=PATIENCE_S)
    return time.perf_counter() - start


class Run:
    """`python -m pipeline.train debug`, whose lines are read one by one."""

    def __init__(self, path: Path, iterations: int) -> None:
        line = ["debug", "--iterations", str(iterations), "--run-dir", str(path), "--evaluation.every", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.train", *line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def seconds_until(self, words: str) -> float:
        start = time.perf_counter()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                return time.perf_counter() - start
        raise RuntimeError(f"the run ended without a line with {words!r}")


@contextmanager
def run_of(path: Path, iterations: int) -> Iterator[Run]:
    run = Run(path, iterations)
    try:
        yield run
    finally:
        run.process.terminate()
        run.process.communicate(timeout=PATIENCE_S)


def stop_and_restart(path: Path) -> dict[str, float]:
    with run_of(path, 100) as run:
        started = run.seconds_until("learner on")
        run.seconds_until("iteration 2/")
        before = time.perf_counter()
        run.process.terminate()
        run.process.communicate(timeout=PATIENCE_S)
        stopped = time.perf_counter() - before
    with run_of(path, 100) as run:
        return {"start": started, "stop": stopped, "restart": run.seconds_until("resuming after")}


def recoveries(path: Path, repeats: int) -> dict[str, list[float]]:
    """One run in which a process is killed after every second iteration, every kind in turn."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with run_of(path, 2 * repeats * len(KINDS) + 3) as run:
        run.seconds_until("iteration 2/")
        iteration = 2
        for _ in range(repeats):
            for kind in KINDS:
                os.kill(process_of(kind), signal.SIGKILL)
                found[kind].append(run.seconds_until(f"iteration {iteration + 1}/"))
                run.seconds_until(f"iteration {iteration + 2}/")
                iteration += 2
    return found


def process_of(kind: str) -> int:
    """The newest process that Ray has given the title of an actor of this class."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title = (path / "cmdline").read_bytes()
            if title.startswith(f"ray::{kind}".encode()):
                found.append((path.stat().st_ctime, int(path.name)))
        except OSError:  # it has just ended
            continue
    return max(found)[1]


if __name__ == "__main__":
    main()
