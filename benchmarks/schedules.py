"""How much faster is a run whose learners are split, doubled, or overlapped with collecting? Simulated and measured.

The simulation plays iterations by the code that plays real ones (`pipeline/schedule.py`), in an event loop whose clock
jumps instead of waiting; what each phase of an iteration takes is told by `--phases`, or taken from a result of
benchmarks.iteration. Several ranks divide a part's gradient steps by their number and add the time of adding up its
gradients, 2 (N − 1) / N of its weights over `--bandwidth`. Evaluation, commits and hand-overs take no time here.

    python -m benchmarks.schedules --iteration benchmarks/results/iteration_cpu.json --out …

With `--measure`, `python -m pipeline.train` plays `atari-demo` both ways on this machine, with one thread for the
learner and one collector, and the second half of the iterations counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.question import Question
from pipeline.schedule import Turns, play_all

PARTS = ("tokenizer", "world_model", "actor_critic")
ITERATIONS = 50
AT_ONCE = {"synchronous": 1, "overlapped": 2}
MEASURED_ITERATIONS = 10
MEASURED_FLAGS = ("--cluster.learner-threads", "1", "--inspect-every", "1000", "--evaluation.every", "1000")


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("schedules", "speed-up of schedules, split learners and data parallelism", __doc__)
    source = question.flags.add_mutually_exclusive_group(required=True)
    source.add_argument("--iteration", type=Path, help="a result of benchmarks.iteration")
    source.add_argument("--phases", type=float, nargs=4, metavar="SECONDS", help="collecting, then the three parts")
    question.flags.add_argument(
        "--megabytes",
        type=float,
        nargs=3,
        default=(16.1, 33.8, 12.9),
        help="weights of each part; default: the paper's",
    )
    question.flags.add_argument("--steps", type=int, default=200, help="gradient steps of a part and iteration")
    question.flags.add_argument("--bandwidth", type=float, default=100.0, help="GB/s between ranks")
    question.flags.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    question.flags.add_argument("--measure", action="store_true", help="real runs, too (minutes)")
    flags = question.ask(argv)
    phases = phases_of(flags)
    rows = [
        {"schedule": schedule, "learners": learners, "ranks": ranks, "seconds_per_iteration": seconds}
        for ranks in flags.ranks
        for learners in ("colocated", "split")
        for schedule, at_once in AT_ONCE.items()
        for seconds in [simulate(with_ranks(phases, flags, ranks), learners == "split", at_once)]
    ]
    slowest = rows[0]["seconds_per_iteration"]
    for row in rows:
        row["speed_up"] = slowest / row["seconds_per_iteration"]
    findings: dict[str, Any] = {"phases": phases, "simulated": rows}
    if flags.measure:
        measured = {schedule: measure(schedule) for schedule in AT_ONCE}
        speed_up = measured["synchronous"]["seconds_per_iteration"] / measured["overlapped"]["seconds_per_iteration"]
        expected = {
            schedule: simulate(measured["synchronous"]["phases"], False, at_once)
            for schedule, at_once in AT_ONCE.items()
        }
        findings["measured"] = {**measured, "speed_up": speed_up}
        findings["measured"]["simulated_speed_up"] = expected["synchronous"] / expected["overlapped"]
    question.answer(findings)


def phases_of(flags: argparse.Namespace) -> dict[str, float]:
    """Seconds of each phase of an iteration."""
    if flags.phases:
        return dict(zip(("collect", *PARTS), flags.phases, strict=True))
    found = json.loads(flags.iteration.read_text())["phases"]
    return {name: found[name]["seconds_per_iteration"] for name in ("collect", *PARTS)}


def with_ranks(phases: Mapping[str, float], flags: argparse.Namespace, ranks: int) -> dict[str, float]:
    """Phases where each part has so many ranks."""
    sent = 2 * (ranks - 1) / ranks / flags.bandwidth / 1e3  # seconds a megabyte
    adding_up = {part: flags.steps * size * sent for part, size in zip(PARTS, flags.megabytes, strict=True)}
    return {
        name: seconds if name == "collect" else seconds / ranks + adding_up[name] for name, seconds in phases.items()
    }


def simulate(phases: Mapping[str, float], split: bool, at_once: int) -> float:
    """Mean seconds of an iteration."""
    groups = [[part] for part in PARTS] if split else [PARTS]

    async def run() -> float:
        turns, loop = Turns(1), asyncio.get_running_loop()

        async def play(iteration: int) -> None:
            async with turns.of("collect", iteration):
                await asyncio.sleep(phases["collect"])
            for group in groups:
                async with turns.of(group[0], iteration):
                    await asyncio.sleep(sum(phases[part] for part in group))
            async with turns.of("commit", iteration):
                pass

        start = loop.time()
        await play_all(play, range(1, ITERATIONS + 1), at_once)
        return (loop.time() - start) / ITERATIONS

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(run())


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing that is due."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout:
            self._loop.jump(timeout)
        return super().select(0)


def measure(schedule: str) -> dict[str, Any]:
    """A real run of `atari-demo` on this machine."""
    with TemporaryDirectory() as directory:
        flags = ["--schedule", schedule, "--iterations", str(MEASURED_ITERATIONS), "--evaluation.final-episodes", "1"]
        flags += [*MEASURED_FLAGS, "--run-dir", directory]
        command = [sys.executable, "-m", "pipeline.train", "atari-demo", *flags]
        subprocess.run(command, check=True, stdout=sys.stderr)
        lines = [json.loads(line) for line in (Path(directory) / "timings.jsonl").read_text().splitlines()]
    later = lines[MEASURED_ITERATIONS // 2 : -1]  # every part trains; the last one evaluates and makes pictures
    names = {"collect": "collect", **{part: part.replace("_", " ") for part in PARTS}}
    return {
        "seconds_per_iteration": statistics.mean(line["total"] for line in later),
        "phases": {part: statistics.mean(line[name] for line in later) for part, name in names.items()},
    }


if __name__ == "__main__":
    main()
