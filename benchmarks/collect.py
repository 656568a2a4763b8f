"""What does collecting through Ray cost over a bare loop, and how does it grow with the number of collectors?

Bare is one collector in this process that stores nothing. Through Ray, collectors are actors that write what they play,
by the calls of `pipeline/driver.py`; all act with the same weights. Rounds of both alternate, so that a machine's slow
minutes hit both. What the parts of a round cost by themselves is measured, too: a call, and making a round durable.
With --env-processes, the bare loop has them, too, and so a third one shows what they gain, which steps its environments
itself.

    python -m benchmarks.collect --preset atari-small --out benchmarks/results/collect_cpu.json
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# isort: off
import cluster  # noqa: F401 - it settles how Ray may be reached, which Ray reads when it is imported
import ray

# isort: on
import torch

from actors.collector import Collector
from actors.store import ReplayStore
from benchmarks.question import Question
from benchmarks.sink import MemorySink
from cluster.connect import connect, disconnect
from cluster.process import Placement, num_cores
from cluster.ray_processes import RayProcesses, wait
from learners.weights import flat_weights
from pipeline.config import RunConfig
from pipeline.presets import PRESETS
from pipeline.train import agent_config

TIMEOUT_S = 600.0


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("collect", "seconds of collecting through Ray against a bare loop", __doc__)
    question.flags.add_argument("--preset", default="atari-small", choices=sorted(PRESETS))
    question.flags.add_argument("--collectors", type=int, nargs="+", default=[1, 2, 4])
    question.flags.add_argument("--env-processes", type=int, default=0, help="that step each collector's environments")
    question.flags.add_argument("--steps", type=int, default=1_000, help="of every collector in a round")
    question.flags.add_argument("--repeats", type=int, default=5, help="rounds, of which the median counts")
    flags = question.ask(argv)
    config = PRESETS[flags.preset][1]
    torch.set_num_threads(1)  # as a collector's process has
    connect(config.cluster)
    try:
        rows = [measure(config, count, flags.env_processes, flags.steps, flags.repeats) for count in flags.collectors]
    finally:
        disconnect()
    size = {"env_processes": flags.env_processes, "steps": flags.steps, "repeats": flags.repeats, "cores": num_cores()}
    question.answer({"preset": flags.preset, "environment": config.env.kind, **size, "rows": rows})


def measure(config: RunConfig, num_collectors: int, env_processes: int, steps: int, repeats: int) -> dict[str, Any]:
    """Medians over the rounds."""
    agent = agent_config(config)
    weights = flat_weights(agent.build().acting_modules())
    arguments = config.env, config.collection, agent
    how: dict[str, Any] = {"seed": config.seed, "env_processes": env_processes}
    sink = MemorySink()
    alone = {"bare": Collector(*arguments, sink, index=0, **how)}
    if env_processes:
        alone["by_itself"] = Collector(*arguments, sink, index=0, seed=config.seed)
    processes, placement = RayProcesses(config.cluster.start_timeout_s), Placement(threads=1)
    processes.reserve([{"CPU": 1}])  # that of actors which take turns; here they do not
    with tempfile.TemporaryDirectory() as directory:
        store = ReplayStore(Path(directory, "replay"), "benchmark")
        collectors = [
            processes.start(f"collector {i}", Collector, *arguments, store, index=i, placement=placement, **how)
            for i in range(num_collectors)
        ]
        known, chunks = ray.put(weights), []
        seconds: dict[str, list[float]] = defaultdict(list)
        for iteration in range(1, repeats + 2):  # the first round is a warm-up
            for name, collector in alone.items():
                start = time.perf_counter()
                collector.collect(iteration, steps, weights, 0)
                seconds[name].append(time.perf_counter() - start)
                chunks = sink.take()

            start = time.perf_counter()
            store.make_directory(iteration)
            wait([each.call("collect", iteration, steps, known, 0) for each in collectors], "steps", TIMEOUT_S)
            seconds["through_ray"].append(time.perf_counter() - start)

            start = time.perf_counter()
            store.write(num_collectors, 0, chunks)
            seconds["durable"].append(time.perf_counter() - start)

            start = time.perf_counter()
            wait(collectors[0].call("get_state"), "a small call", TIMEOUT_S)
            seconds["call"].append(time.perf_counter() - start)
        files = Path(directory, "replay").glob("*/*.safetensors")
        stored = sum(path.stat().st_size for path in files)
        for process in collectors:
            ray.kill(process.actor)
    processes.release()
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    in_all = num_collectors * steps
    return {
        "collectors": num_collectors,
        "bare_steps_per_second": steps / median["bare"],
        "steps_per_second": in_all / median["through_ray"],
        "speedup_by_env_processes": median["by_itself"] / median["bare"] if env_processes else None,
        "times_bare": in_all / median["through_ray"] * median["bare"] / steps,
        "overhead_percent": 100 * (median["through_ray"] / median["bare"] - 1) if num_collectors == 1 else None,
        "seconds_to_make_a_round_durable": median["durable"],
        "seconds_of_a_call": median["call"],
        "bytes_of_a_stored_step": stored / ((in_all + steps) * (repeats + 1)),
    }


if __name__ == "__main__":
    main()
