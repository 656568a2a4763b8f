"""A run whose processes are fakes, wherever they are, and what is left of it in the end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from unittest.mock import patch

from actors.experience_reader import ExperienceReader
from cluster.process import Placement, Process, Processes
from learners.action_space import Discrete
from learners.algorithm import AgentConfig
from learners.learner import Learner
from pipeline import media
from pipeline.checkpoint import Checkpoints
from pipeline.config import RunConfig
from pipeline.placement import Layout, learner_groups
from pipeline.presets import preset
from pipeline.progress import Reporter
from pipeline.run_dir import RunDirectory
from pipeline.verify import logical_digest, verify
from pipeline.workers import LearnerGroup, Workers
from tests.faults.fakes import FakeCollector, FakeEvaluator, FakeLearner

DEBUG = preset("debug")

KINDS = ("learner", "collector", "evaluator")
PHASES = ("collect", "tokenizer", "world model", "actor critic", "evaluate", "commit")
DISK_CALLS = ("write", "fsync", "rename", "unlink")
CALL_TIMEOUT_S = 120


def config_of(
    iterations: int, schedule: str = "synchronous", learners: str = "colocated", data_parallel: int = 1
) -> RunConfig:
    """Two collectors, two evaluators, every part trains in every iteration, in two slices."""
    changes = {
        "collection": {"num_collectors": 2, "last_iteration": 10**6},
        "evaluation": {"every": 1, "num_evaluators": 2, "episodes": 4, "final_episodes": 4},
        "cluster": {"call_timeout_s": CALL_TIMEOUT_S, "learners": learners, "data_parallel": data_parallel},
    }
    sections = {name: getattr(DEBUG, name).model_copy(update=values) for name, values in changes.items()}
    whole = {"iterations": iterations, "schedule": schedule, "inspect_every": 10**6}
    return DEBUG.model_copy(update={**whole, **sections})


def start_fakes(config: RunConfig, run: RunDirectory, processes: Processes) -> Workers:
    """What `start_workers` starts, with real files of experience, real learners where they have to talk to each other,
    and nothing else that is real. One CPU is reserved for all: none of them computes."""
    place, store = Placement(threads=1), run.store(config)

    def start(name: str, cls: type, *args: object, **kwargs: object) -> Process:
        return processes.start(name, cls, *args, placement=place, **kwargs)

    def learners(name: str) -> list[Process]:
        if (size := config.cluster.data_parallel) == 1:
            return [start(name, FakeLearner, store)]
        agent = AgentConfig(config.algorithm, Discrete(3))
        arguments = agent, config.dataset, config.learner
        how = {"seed": 0, "device": "cpu", "experience": ExperienceReader(store)}
        return [start(f"{name}.{rank}", Learner, *arguments, **how) for rank in range(size)]

    return Workers(
        processes=processes,
        layout=Layout([{"CPU": 1}], [{}], learners=[place] * 3, acting=[place], env_processes=0),
        learners=[LearnerGroup(parts, learners(f"learner {i}")) for i, parts in enumerate(learner_groups(config))],
        collectors=[start(f"collector {i}", FakeCollector, i, store) for i in range(2)],
        evaluators=[start(f"evaluator {i}", FakeEvaluator) for i in range(2)],
        config=config.cluster,
    )


class Listener(Reporter):
    """Keeps what a person would be told."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.iterations)
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def phase(self, iteration: int, name: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Outcome:
    digest: str
    steps: int
    lines: list[str] = field(compare=False)
    leftovers: int = field(compare=False)
    """Files of experience that no commit names."""


@contextmanager
def without_pictures() -> Iterator[None]:
    with (
        patch.object(media, "save_inspection", lambda *_: None),
        patch.object(media, "save_episode", lambda *_: None),
        patch.object(media, "save_curves", lambda *_: None),
    ):
        yield


def verifies(run: RunDirectory) -> bool:
    """What `pipeline.verify` says, without its words."""
    with redirect_stdout(io.StringIO()):
        return verify(run, digest=False) == 0


def outcome(run: RunDirectory, config: RunConfig, lines: list[str]) -> Outcome:
    """Raises AssertionError if a byte is damaged, a step is missing or doubled, or was taken with other weights than
    those of the iteration before, or in an overlapped schedule of the one before that."""
    assert verifies(run)
    newest = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
    link, lost = (newest.state.experience, newest.state.lost) if newest else (None, [])
    chunks = list(run.store(config).all_chunks(link, lost))
    steps = sum(map(len, chunks))
    assert steps == config.planned_steps(config.iterations) - sum(each.steps for each in lost)
    at_once = config.iterations_at_once
    assert all(chunk.policy_version == max(0, chunk.iteration - at_once) for chunk in chunks)
    leftovers = run.store(config).strays(run.store(config).history(link))
    return Outcome(logical_digest(run, config), steps, lines, len(leftovers))
