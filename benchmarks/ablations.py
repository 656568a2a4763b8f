"""What is each ingredient worth? A preset with one of them taken away, the rest as it is.

A run here is the loop of `pipeline/driver.py` in one process: the same classes, streams and schedule, without store and
commits. `--processes` runs go on side by side, with one thread each; a row is written when its run ends, and the same
command goes on with the rows that are missing.

    python -m benchmarks.ablations --preset catch --iterations 26 --seeds 3 \\
        --out benchmarks/results/ablations_catch.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from actors.collector import Collector
from actors.evaluator import Evaluator
from benchmarks.hardware import describe
from benchmarks.sink import MemorySink
from cluster.process import worker_environment
from learners.experience import Chunk
from learners.learner import Learner
from learners.streams import Streams
from pipeline.config import RunConfig
from pipeline.presets import PRESETS
from pipeline.train import agent_config

NEVER = 1_000_000
Row = dict[str, Any]


def shuffled_rewards(chunk: Chunk, seed: int) -> Chunk:
    """The same rewards, each at another step."""
    generator = Streams(seed).numpy("shuffled rewards", chunk.iteration, chunk.environment, chunk.start)
    return replace(chunk, rewards=generator.permutation(chunk.rewards))


@dataclass(frozen=True)
class Ablation:
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted path -> value."""
    experience: Callable[[Chunk, int], Chunk] = lambda chunk, seed: chunk
    """What the learner gets of a collected chunk."""


# What never trains must not be waited for, either.
UNTRAINED_TOKENIZER = {
    "algorithm.tokenizer.training.starts_after": NEVER,
    "algorithm.tokenizer.ready_below": 0.0,
    "algorithm.world_model.ready_above": 0.0,
}
UNTRAINED_WORLD_MODEL = {
    "algorithm.world_model.training.starts_after": NEVER,
    "algorithm.world_model.ready_above": 0.0,
}
ABLATIONS = {
    "nothing": Ablation(),
    "world model untrained": Ablation(UNTRAINED_WORLD_MODEL),
    "tokenizer frozen at initialisation": Ablation(UNTRAINED_TOKENIZER),
    "entropy bonus off": Ablation({"algorithm.actor_critic.entropy_weight": 0.0}),
    "rewards shuffled": Ablation(experience=shuffled_rewards),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="catch", choices=sorted(PRESETS))
    parser.add_argument("--iterations", type=int, default=26)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 .. SEEDS - 1")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, required=True, help="file of the rows; those it has are kept")
    flags = parser.parse_args(argv)
    config = PRESETS[flags.preset][1].model_copy(update={"iterations": flags.iterations})
    rows: list[Row] = json.loads(flags.out.read_text())["rows"] if flags.out.exists() else []
    known = {(row["without"], row["seed"]) for row in rows}
    missing = [(name, seed) for seed in range(flags.seeds) for name in ABLATIONS if (name, seed) not in known]
    os.environ |= worker_environment(1)
    for row in ablate_all(config, missing, flags.processes):
        rows.append(row)
        rows.sort(key=lambda row: (list(ABLATIONS).index(row["without"]), row["seed"]))
        print(json.dumps(row), file=sys.stderr)
        circumstances = {
            "question": f"score of {flags.preset} after {flags.iterations} iterations, without one ingredient",
            "command": " ".join(["python -m benchmarks.ablations", *(sys.argv[1:] if argv is None else argv)]),
            "hardware": describe(),
        }
        flags.out.write_text(json.dumps({**circumstances, "table": table(rows), "rows": rows}, indent=1) + "\n")
    print(json.dumps(table(rows), indent=1))


def ablate_all(config: RunConfig, missing: Sequence[tuple[str, int]], processes: int) -> Iterator[Row]:
    """Rows of (ablation, seed), as their runs end."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        calls = [pool.submit(ablate, config.model_copy(update={"seed": seed}), name) for name, seed in missing]
        yield from (call.result() for call in as_completed(calls))


def ablate(config: RunConfig, name: str) -> Row:
    """One run; the score after its last iteration."""
    ablation = ABLATIONS[name]
    config = with_settings(config, ablation.settings)
    agent, start = agent_config(config), time.monotonic()
    learner = Learner(agent, config.dataset, config.learner, seed=config.seed, device="cpu")
    sink = MemorySink()
    collector = Collector(config.env, config.collection, agent, sink, seed=config.seed, index=0)
    records: list[dict[str, float]] = []
    for iteration in range(1, config.iterations + 1):
        num_steps = config.collection.steps_in(iteration)
        collector.collect(iteration, num_steps, learner.weights(), iteration - 1)
        learner.extend(ablation.experience(chunk, config.seed) for chunk in sink.take())
        metrics: dict[str, float] = {}
        for part in config.trainings:
            if steps := config.gradient_steps(part, iteration, records, metrics):
                means = learner.train(part, iteration, range(steps))
                metrics |= {f"{part}/{name}": mean for name, mean in means.items()}
        records.append(metrics)
    evaluator = Evaluator(config.env, config.evaluation, agent, seed=config.seed)
    size, scores = config.evaluation.envs_per_evaluator, []
    for batch, first in enumerate(range(0, config.evaluation.final_episodes, size)):
        count = min(size, config.evaluation.final_episodes - first)
        episodes, _ = evaluator.play(config.iterations, batch, count, learner.weights())
        scores += [episode.score for episode in episodes]
    return {
        "without": name,
        "seed": config.seed,
        "score_mean": round(float(np.mean(scores)), 4),
        "iterations_trained": {part: sum(f"{part}/loss" in each for each in records) for part in config.trainings},
        "seconds": round(time.monotonic() - start, 1),
    }


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """The configuration with values at dotted paths replaced."""
    changed = config.model_dump()
    for path, value in settings.items():
        *groups, name = path.split(".")
        target = changed
        for group in groups:
            target = target[group]
        if name not in target:
            raise KeyError(path)
        target[name] = value
    return RunConfig.model_validate(changed)


def table(rows: Sequence[Row]) -> list[Row]:
    """Mean and standard error over seeds of each ablation."""
    lines = []
    for name in ABLATIONS:
        scores = [row["score_mean"] for row in rows if row["without"] == name]
        if scores:
            error = float(np.std(scores, ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else None
            lines.append({"without": name, "seeds": len(scores), "score": round(float(np.mean(scores)), 3)})
            lines[-1]["standard_error"] = None if error is None else round(error, 3)
    return lines


if __name__ == "__main__":
    main()
