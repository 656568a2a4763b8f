"""Where does an iteration's time go, and how long would the whole run take? One process, no Ray, no evaluation.

The phases of an iteration, each measured on its own: collecting (playing and mirroring; the replay store's share is in
benchmarks.ray_overhead), filling the derived columns of the stored frames, the gradient steps of each part with columns
filled, packing the weights for the collectors, writing the checkpoint. Collecting and gradient steps may be measured on
fewer steps than an iteration has; the result holds both numbers. The run is extrapolated from the schedule: which parts
train in which iteration, how long steps are collected, how many frames there are by then (each is taken to be touched).

Where the packages of the preset's game are missing, a synthetic one is played, and the result says so. On a GPU, two
floors stand beside each part: its operations at the machine's ceiling, and 2 µs for each operator that computes.

    python -m benchmarks.iteration --preset demo --steps 10 --out benchmarks/results/iteration_cpu.json
"""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch

from actors.collector import Collector
from benchmarks.ceiling import Ceilings, measure_ceilings
from benchmarks.operations import KERNEL_SECONDS, step_operations
from benchmarks.question import Question
from benchmarks.sink import MemorySink
from benchmarks.synthetic import fill, settle, synthetic_learner
from benchmarks.synthetic_environment import SyntheticConfig
from benchmarks.timing import median_seconds, seconds_of
from benchmarks.workload import Workload
from learners.algorithm import AgentConfig
from learners.learner import Learner
from pipeline.config import RunConfig

MOST_COLLECTED = 200
"""Environment steps that are measured at most."""
NOT_MEASURED = "not measured: safetensors is not installed"


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("iteration", "seconds of an iteration by phase, and of a whole run", __doc__)
    Workload.add_flags(question.flags, preset="atari-demo")
    question.flags.add_argument("--frames", type=int, default=1_000, help="steps in the synthetic dataset")
    question.flags.add_argument("--steps", type=int, help="gradient steps measured per part; default: an iteration's")
    flags = question.ask(argv)
    workload = Workload.of(flags)
    config = workload.config
    ceilings = measure_ceilings(workload.device)
    env, environment = playable(config)
    learner = synthetic_learner(workload, num_steps=flags.frames, action_space=env.build(seed=0).action_space)
    phases: dict[str, Any] = {"collect": measure_collecting(workload, env, learner)}
    for part, training in config.trainings.items():
        settle(workload, learner, part)
        steps = min(flags.steps or training.steps_per_iteration, training.steps_per_iteration)
        seconds = seconds_of(lambda part=part, steps=steps: learner.train(part, 1, range(steps)), workload.device)
        phases[part] = phase("gradient steps", steps, training.steps_per_iteration, seconds)
        question.note(part, phases[part])
    if not workload.as_published:
        phases |= measure_columns(workload, learner)
    phases["publish"] = phase("calls", 1, 1, median_seconds(learner.weights, workload.device))
    phases["commit"] = measure_commit(workload, learner)
    findings = {"environment": environment, "phases": phases, "run": extrapolate(config, learner, phases)}
    if workload.device.type == "cuda":
        findings["floors"] = floors(workload, ceilings)
    question.answer({"workload": workload.describe(), "frames": flags.frames, **findings}, ceilings)


def playable(config: RunConfig) -> tuple[Any, str]:
    """What builds the preset's environment, and its name; the synthetic one where the game's packages are missing."""
    try:
        config.env.build(seed=0)
    except ModuleNotFoundError:
        return SyntheticConfig(), "synthetic"
    return config.env, config.game


def measure_collecting(workload: Workload, env: Any, learner: Learner) -> dict[str, Any]:
    """With one thread, as collectors play; after some steps that warm up."""
    config = workload.config
    agent = AgentConfig(config.algorithm, env.build(seed=0).action_space)
    sink = MemorySink()
    collector = Collector(env, config.collection, agent, sink, seed=0, index=0, device=str(workload.device))
    per_iteration = config.collection.steps_per_iteration
    measured = min(per_iteration, MOST_COLLECTED)
    weights = learner.weights()

    def collect(iteration: int, num_steps: int) -> None:
        collector.collect(iteration, num_steps, weights, 0)
        learner.extend(sink.take())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    collect(1, 5)
    seconds = seconds_of(lambda: collect(2, measured), workload.device)
    torch.set_num_threads(threads)
    return phase("environment steps", measured, per_iteration, seconds)


def measure_columns(workload: Workload, learner: Learner) -> dict[str, Any]:
    """Of each derived column, on top of those before it."""
    phases = {}
    frames = learner.dataset.num_steps
    learner.dataset.forget_derived()
    for name in derived_columns(learner):
        seconds = seconds_of(lambda name=name: fill(learner, [name]), workload.device)
        phases[f"fill_{name}"] = phase("frames", frames, frames, seconds)
    return phases


def measure_commit(workload: Workload, learner: Learner) -> dict[str, Any] | str:
    """Into a temporary directory, with all its waiting for the disk."""
    try:
        import safetensors  # noqa: F401
    except ModuleNotFoundError:
        return NOT_MEASURED
    with TemporaryDirectory() as directory:
        return phase("calls", 1, 1, median_seconds(lambda: learner.save(directory), workload.device, repeats=3))


def phase(unit: str, measured: int, per_iteration: int, seconds: float) -> dict[str, Any]:
    each = seconds / measured
    return {
        "unit": unit,
        "measured": measured,
        "per_iteration": per_iteration,
        "seconds_each": each,
        "seconds_per_iteration": each * per_iteration,
    }


def extrapolate(config: RunConfig, learner: Learner, phases: dict[str, Any]) -> dict[str, Any]:
    """Hours of each phase over all iterations of the run, and which phases are not in the total."""
    units = {"collect": config.planned_steps(config.iterations)}
    for part, training in config.trainings.items():
        units[part] = sum(map(training.steps_in, range(1, config.iterations + 1)))
    for name, parts in derived_columns(learner).items():
        units[f"fill_{name}"] = frames_filled(config, parts)
    units["publish"] = config.iterations
    units["commit"] = config.iterations // config.checkpoint.every
    measured = {name: found for name, found in phases.items() if found != NOT_MEASURED}
    hours = {name: units[name] * found["seconds_each"] / 3600 for name, found in measured.items()}
    return {
        "iterations": config.iterations,
        "extrapolated_hours": hours,
        "total_hours": sum(hours.values()),
        "left_out": ["evaluation", *(phases.keys() - measured.keys())],
    }


def frames_filled(config: RunConfig, readers: Sequence[str]) -> int:
    """For how many a column that parts read is computed in the whole run, if each iteration touches all there are."""
    first = 1 + min(config.trainings[part].starts_after for part in readers)
    return sum(map(config.planned_steps, range(first, config.iterations + 1)))


def derived_columns(learner: Learner) -> dict[str, list[str]]:
    """Each derived column with the parts that read it."""
    readers: dict[str, list[str]] = {}
    for name, part in learner.parts.items():
        for column in part.columns:
            if column in learner.algorithm.derived:
                readers.setdefault(column, []).append(name)
    return readers


def floors(workload: Workload, ceilings: Ceilings) -> dict[str, Any]:
    """Seconds below which a gradient step of each part cannot get."""
    rows = {}
    for part, operations in step_operations(workload, list(workload.config.trainings)).items():
        rows[part] = {
            "tflop": operations.flops / 1e12,
            "dependent_kernels": operations.kernels,
            "operations_floor_seconds": operations.flops / max(ceilings[workload.precision]),
            "kernel_floor_seconds": operations.kernels * KERNEL_SECONDS,
        }
    return rows


if __name__ == "__main__":
    main()
