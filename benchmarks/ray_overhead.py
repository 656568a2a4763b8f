"""What does Ray cost? Whole iterations of a preset under Ray against the same parts in one plain process.

Both sides collect, store, train all parts and save the same things with the same seed, threads and allocator settings;
the one process calls the same classes directly. Compared is the median time of an iteration in which every part trains,
phase by phase. They alternate `--repeats` times, so that a machine's slow minutes hit both.

    python -m benchmarks.ray_overhead --preset demo --iterations 6 --out benchmarks/results/ray_overhead.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from actors.collector import Collector
from actors.experience_reader import ExperienceReader
from actors.store import ReplayStore
from benchmarks.question import Question
from cluster.process import worker_environment
from learners.learner import Learner
from pipeline.config import RunConfig
from pipeline.presets import PRESETS
from pipeline.train import agent_config

Seconds = dict[str, float]
"""Phase -> seconds of one iteration."""


def main(argv: Sequence[str] | None = None) -> None:
    text = "seconds of a whole iteration under Ray against the same parts in one process"
    question = Question("ray_overhead", text, __doc__)
    question.flags.add_argument("--preset", default="atari-demo", choices=sorted(PRESETS))
    question.flags.add_argument("--iterations", type=int, default=6)
    question.flags.add_argument("--repeats", type=int, default=2)
    question.flags.add_argument("--one-process", type=Path, help=argparse.SUPPRESS)
    flags = question.ask(argv)
    config = PRESETS[flags.preset][1].model_copy(update={"iterations": flags.iterations})
    if flags.one_process:
        flags.one_process.write_text(json.dumps(list(one_process(config))))
        return
    sides: dict[str, list[Seconds]] = {"ray": [], "one process": []}
    first = 1 + max(training.starts_after for training in config.trainings.values())
    for _ in range(flags.repeats):
        sides["ray"] += _run_under_ray(config)[first - 1 : -1]  # the last iteration plays a longer evaluation
        sides["one process"] += _run_in_one_process(flags.preset, config.iterations)[first - 1 : -1]
    question.answer({"settings": _environment(), **compare(config, sides)})


def compare(config: RunConfig, sides: Mapping[str, Sequence[Seconds]]) -> dict[str, Any]:
    """Medians over the iterations of each side."""
    phases = ["collect", "mirror", *(part.replace("_", " ") for part in config.trainings), "commit"]
    totals = {
        side: statistics.median(sum(each[phase] for phase in phases) for each in its) for side, its in sides.items()
    }
    return {
        "iterations_compared": {side: len(iterations) for side, iterations in sides.items()},
        "seconds": {
            side: {phase: statistics.median(each[phase] for each in iterations) for phase in phases}
            for side, iterations in sides.items()
        },
        "total": totals,
        "loss_percent": 100 * (totals["ray"] / totals["one process"] - 1),
    }


def one_process(config: RunConfig) -> Iterator[Seconds]:
    """The loop of `pipeline/driver.py` without Ray: the same calls on the same classes."""
    agent, threads = agent_config(config), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as directory:
        store = ReplayStore(Path(directory, "replay"), "benchmark")
        how = {"device": "cpu", "experience": ExperienceReader(store)}
        learner = Learner(agent, config.dataset, config.learner, seed=config.seed, **how)
        collector = Collector(config.env, config.collection, agent, store, seed=config.seed, index=0)
        for iteration in range(1, config.iterations + 1):
            seconds: Seconds = {}
            with _timed(seconds, "collect"):
                num_steps = config.collection.steps_in(iteration)
                torch.set_num_threads(1)  # as a collector's process does: a second thread costs more than it computes
                store.make_directory(iteration)
                receipts, _, _ = collector.collect(iteration, num_steps, learner.weights(), iteration - 1)
                torch.set_num_threads(threads)
            with _timed(seconds, "mirror"):
                learner.mirror([receipts])
            for part, training in config.trainings.items():
                if steps := training.steps_in(iteration):
                    with _timed(seconds, part.replace("_", " ")):
                        learner.train(part, iteration, range(steps))
            with _timed(seconds, "commit"):
                saved = Path(directory, f"{iteration}")
                saved.mkdir()
                learner.save(str(saved))
            yield seconds


def _run_under_ray(config: RunConfig) -> list[Seconds]:
    with tempfile.TemporaryDirectory() as directory:
        run_dir = Path(directory, "run")
        command = [sys.executable, "-m", "pipeline.train", config.preset, "--iterations", str(config.iterations)]
        subprocess.run([*command, "--run-dir", str(run_dir)], check=True, stdout=sys.stderr)
        return [json.loads(line) for line in (run_dir / "timings.jsonl").read_text().splitlines()]


def _run_in_one_process(preset: str, iterations: int) -> list[Seconds]:
    with tempfile.NamedTemporaryFile() as out:
        flags = ["--preset", preset, "--iterations", str(iterations), "--one-process", out.name]
        subprocess.run(
            [sys.executable, "-m", "benchmarks.ray_overhead", *flags], check=True, env=os.environ | _environment()
        )
        return json.load(out)


def _environment() -> dict[str, str]:
    """Of both sides."""
    return worker_environment(len(os.sched_getaffinity(0)))


@contextmanager
def _timed(seconds: Seconds, phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - start


if __name__ == "__main__":
    main()
