"""How many runs should share a device? Runs per device-hour against runs at once, for the gradient steps of a preset.

As many processes as there are runs, each with networks and experience of its own, take the gradient steps of one part
after another, all of them the same part at the same time. On a CPU they divide the cores. Collecting and evaluating are
not in it: they are other processes (`--cluster.acting`). A run that shares a GPU is started with `--cluster.gpu-share`;
memory is what all processes take together.

    python -m benchmarks.many_runs --preset demo --runs 1 2 --out benchmarks/results/many_runs_cpu.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from benchmarks.question import Question
from benchmarks.synthetic import settle, synthetic_learner
from benchmarks.timing import seconds_of
from benchmarks.workload import Workload

PATIENCE_S = 1800.0
"""How long a process waits for the others."""
Measured = tuple[dict[str, float], float]
"""Seconds of a gradient step by part; GB of memory."""


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("many_runs", "runs per device-hour against runs at once", __doc__)
    Workload.add_flags(question.flags, preset="atari-demo")
    question.flags.add_argument("--runs", type=int, nargs="+", default=[1, 2, 4], help="how many at once")
    question.flags.add_argument("--frames", type=int, default=1_000, help="steps in each synthetic dataset")
    question.flags.add_argument("--steps", type=int, default=10, help="gradient steps measured per part")
    flags = question.ask(argv)
    workload = Workload.of(flags)
    rows = []
    for num_runs in flags.runs:
        rows.append(row(workload, at_once(flags, num_runs)))
        question.note(f"{num_runs} at once", rows[-1])
    question.answer({"workload": workload.describe(), "rows": rows})


def at_once(flags: argparse.Namespace, num_runs: int) -> list[Measured]:
    """What each of so many processes measures while the others work, too."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(num_runs)
    with ProcessPoolExecutor(num_runs, context, _share_barrier, (barrier,)) as pool:
        return list(pool.map(_measure, [flags] * num_runs, [num_runs] * num_runs))


def row(workload: Workload, measured: Sequence[Measured]) -> dict[str, Any]:
    config = workload.config
    seconds = {part: statistics.mean(each[part] for each, _ in measured) for part in config.trainings}
    hours = 0.0
    for part, training in config.trainings.items():
        steps = sum(map(training.steps_in, range(1, config.iterations + 1)))
        hours += steps * seconds[part] / 3600
    return {
        "runs_at_once": len(measured),
        "seconds_per_gradient_step": seconds,
        "hours_of_gradient_steps_per_run": hours,
        "runs_per_device_hour": len(measured) / hours,
        "memory_gb": sum(memory for _, memory in measured),
    }


def _share_barrier(barrier: Barrier) -> None:
    global _together  # pools hand nothing else to all of their processes
    _together = barrier


_together: Barrier


def _measure(flags: argparse.Namespace, num_runs: int) -> Measured:
    """In a process of its own; the others do not wait for one that fails."""
    try:
        return _gradient_steps(flags, num_runs)
    except BaseException:
        _together.abort()
        raise


def _gradient_steps(flags: argparse.Namespace, num_runs: int) -> Measured:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_runs))
    workload = Workload.of(flags)
    learner = synthetic_learner(workload, num_steps=flags.frames)
    seconds = {}
    for part in workload.config.trainings:
        settle(workload, learner, part)
        _together.wait(PATIENCE_S)
        train = lambda part=part: learner.train(part, 1, range(flags.steps))  # noqa: E731
        seconds[part] = seconds_of(train, workload.device) / flags.steps
        _together.wait(PATIENCE_S)
    if workload.device.type == "cuda":
        return seconds, torch.cuda.max_memory_reserved(workload.device) / 1e9
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
