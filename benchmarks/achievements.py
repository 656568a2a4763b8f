"""Which of Crafter's achievements does an agent reach more often than random play? Of training episodes, as published.

The agent's rates are those of the episodes that ended in the last iterations of a run; random play is a collector of
the same run that acts uniformly at random for as many steps, from a first episode on as the run itself began. Both are
collected in lock step, and an episode that has not ended by then counts in neither.

    python -m pipeline.train delta-iris-crafter-small --run-dir runs/crafter-small
    python -m benchmarks.achievements runs/crafter-small --out benchmarks/results/achievements_delta_iris.json
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from actors.collector import Collector
from benchmarks.question import Question
from benchmarks.sink import MemorySink
from learners.weights import flat_weights
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.metrics import ACHIEVED, episode_metrics
from pipeline.run_dir import RunDirectory
from pipeline.train import agent_config

EPISODES = "collection/episodes"


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("achievements", "which achievements an agent reaches more often than random play", __doc__)
    question.flags.add_argument("run_dir", type=Path)
    question.flags.add_argument("--last", type=int, default=20, help="iterations whose episodes are the agent's")
    flags = question.ask(argv)
    if flags.last < 1:
        question.flags.error(f"--last: found {flags.last}, expected at least 1")
    try:
        with closing(RunDirectory.open(flags.run_dir)) as run:
            config = run.config()
            records = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
            timings = [json.loads(line) for line in run.timings_file.read_text().splitlines()]
    except (UsageError, OSError) as error:
        question.flags.error(str(error))
    collected = [record for record in records if EPISODES in record][-flags.last :]
    if not counted(collected)[EPISODES]:
        question.flags.error(f"{flags.run_dir}: found no episode that ended in these iterations, expected some")
    num_steps = sum(config.collection.steps_in(record["iteration"]) for record in collected)
    found = compare(counted(collected), played_at_random(config, num_steps))
    in_run = {
        "preset": config.preset,
        "iterations": len(records),
        "steps": records[-1]["steps"],
        "wall_seconds": sum(row["total"] for row in timings),
        "last_iterations": len(collected),
    }
    question.answer({"run": in_run, **found})


def counted(records: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Of iterations: how many episodes ended, and in how many of them each achievement was reached."""
    total: Counter[str] = Counter()
    for record in records:
        total[EPISODES] += record[EPISODES]
        total.update({name: value for name, value in record.items() if name.startswith(ACHIEVED)})
    return total


def played_at_random(config: RunConfig, num_steps: int) -> Counter[str]:
    """The same of random play."""
    agent = agent_config(config)
    collection = config.collection.model_copy(update={"first_steps": num_steps})
    collector = Collector(config.env, collection, agent, MemorySink(), seed=config.seed, index=0)
    torch.set_num_threads(1)
    _, report, _ = collector.collect(1, num_steps, flat_weights(agent.build().acting_modules()), 0)
    return counted([episode_metrics([report])])


def compare(agent: Counter[str], random: Counter[str]) -> dict[str, Any]:
    """Rates with the difference in its standard errors; `above` are the achievements where it is more than two."""
    rows = {}
    for name in sorted({*agent, *random} - {EPISODES}):
        rate, floor = agent[name] / agent[EPISODES], random[name] / random[EPISODES]
        error = sqrt(rate * (1 - rate) / agent[EPISODES] + floor * (1 - floor) / random[EPISODES])
        apart = (rate - floor) / error if error else None
        rows[name.removeprefix(ACHIEVED)] = {"agent": rate, "random": floor, "standard_errors_above": apart}
    return {
        "episodes": {"agent": agent[EPISODES], "random": random[EPISODES]},
        "above": [name for name, row in rows.items() if (row["standard_errors_above"] or 0) > 2],
        "rates": rows,
    }


if __name__ == "__main__":
    main()
