"""A run whose processes are fakes, and faults that strike it where they are told to."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any
from unittest.mock import patch

import ray
from ray.actor import ActorHandle

from actors.replay.service import ReplayService
from actors.replay.store import ReplayStore
from cluster.config import ClusterConfig
from cluster.spawn import Placement, reserve, spawn
from cluster.supervise import Worker
from learners.agent import AgentConfig
from learners.learner import Learner
from pipeline import media
from pipeline.checkpoint import Checkpoints
from pipeline.config import RunConfig
from pipeline.driver import Driver
from pipeline.presets import DEBUG
from pipeline.progress import Reporter
from pipeline.run_dir import RunDirectory, run_name
from pipeline.stop import StopSignals
from pipeline.verify import logical_digest, verify
from pipeline.workers import LearnerGroup, Reservation, Workers, learner_groups
from tests.faults import victim_side
from tests.faults.fakes import FakeCollector, FakeEvaluator, FakeLearner

KINDS = ("store", "learner", "collector", "evaluator")
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


def reserve_for_fakes(num_cpus: int = 1) -> Placement:
    return Placement(reserve(ClusterConfig(), [{"CPU": num_cpus}]), threads=1)


def start_fakes(config: RunConfig, run: RunDirectory, placement: Placement) -> Workers:
    """What `start_workers` starts, with a real replay store, real learners where they have to talk to each other, and
    nothing else that is real."""

    def worker(name: str, cls: type, *args: object, **kwargs: object) -> Worker:
        return Worker(name, partial(spawn, cls, *args, placement=placement, **kwargs))

    def learners(name: str) -> list[Worker]:
        if (size := config.cluster.data_parallel) == 1:
            return [worker(name, FakeLearner)]
        agent = AgentConfig(config.world_model, config.actor_critic, num_actions=3)
        arguments = agent, config.dataset, config.learner
        return [worker(f"{name}.{rank}", Learner, *arguments, seed=0, device="cpu") for rank in range(size)]

    return Workers(
        store=worker("replay store", ReplayService, str(run.replay), run_name(config)),
        learners=[LearnerGroup(parts, learners(f"learner {i}")) for i, parts in enumerate(learner_groups(config))],
        collectors=[worker(f"collector {i}", FakeCollector, i) for i in range(2)],
        evaluators=[worker(f"evaluator {i}", FakeEvaluator) for i in range(2)],
        reservation=Reservation(store=placement, acting=[placement], learners=[placement] * 3),
        start_timeout_s=CALL_TIMEOUT_S,
    )


@dataclass
class Fault:
    """SIGKILL of a process, in a phase of an iteration."""

    kind: str
    iteration: int
    phase: str
    delay_s: float = 0.0
    """After the phase began."""
    disk_call: str | None = None
    """Instead: at this call of `learners/durable.py` …"""
    count: int = 1
    """… when the process makes it for the so-many-th time after the phase began."""
    hit: str | None = None
    """The phase in which the process was killed; None if it was not."""
    recovered_s: float | None = None
    """From the kill until the run made progress again."""

    def __str__(self) -> str:
        where = f"{self.disk_call} {self.count}" if self.disk_call else f"+{self.delay_s * 1000:.0f} ms"
        return f"{self.kind} in {self.phase} of iteration {self.iteration}, {where}"


class Injector(Reporter):
    """Hears from the driver which phase begins, and strikes."""

    def __init__(self, config: RunConfig, faults: list[Fault], kill_node: Callable[[], None] | None) -> None:
        super().__init__(config.iterations)
        self._kill_node = kill_node
        self._waiting = list(faults)
        self._unrecovered: list[tuple[Fault, float]] = []
        self._phase = "start"
        self.lines: list[str] = []
        self.victims: Callable[[str, int], ActorHandle] | None = None

    def line(self, text: str) -> None:
        self.lines.append(text)

    def phase(self, iteration: int, name: str, done: int, total: int) -> None:
        self._phase = name
        if done or name in PHASES[1:]:  # a chunk was stored and mirrored, or a gradient step was taken
            self._note_progress()
        for fault in [] if done else self._waiting:
            if (fault.iteration, fault.phase) == (iteration, name):
                self._waiting.remove(fault)
                self._strike(fault)
                return

    def _note_progress(self) -> None:
        for fault, killed_at in self._unrecovered:
            fault.recovered_s = time.monotonic() - killed_at
        self._unrecovered.clear()

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "driver":
            self._strike_driver(fault)
            return
        if fault.kind == "node":
            fault.hit = self._phase
            self._unrecovered.append((fault, time.monotonic()))
            assert self._kill_node is not None
            self._kill_node()
            return
        assert self.victims is not None
        victim = self.victims(fault.kind, fault.iteration)
        pid: Any = ray.get(victim.__ray_call__.remote(victim_side.pid), timeout=CALL_TIMEOUT_S)

        def struck() -> None:
            fault.hit = self._phase
            self._unrecovered.append((fault, time.monotonic()))

        if fault.disk_call:
            ray.get(
                victim.__ray_call__.remote(victim_side.die_at, fault.disk_call, fault.count), timeout=CALL_TIMEOUT_S
            )
            Timer(0.0, _when_dead, (pid, struck)).start()
        elif fault.delay_s:
            Timer(fault.delay_s, lambda: (struck(), os.kill(pid, signal.SIGKILL))).start()
        else:
            struck()
            os.kill(pid, signal.SIGKILL)

    def _strike_driver(self, fault: Fault) -> None:
        """In the process that this is: what it was doing is left on standard output."""

        def die() -> None:
            print(f"hit: {self._phase}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        if fault.disk_call:
            victim_side.die_at(None, fault.disk_call, fault.count, die)
        elif fault.delay_s:
            Timer(fault.delay_s, die).start()
        else:
            die()


def _when_dead(pid: int, then: Callable[[], None]) -> None:
    deadline = time.monotonic() + CALL_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            then()
            return
        time.sleep(0.001)


@dataclass(frozen=True)
class Outcome:
    digest: str
    steps: int
    lines: list[str] = field(compare=False)


@contextmanager
def without_pictures() -> Iterator[None]:
    with (
        patch.object(media, "save_inspection", lambda *_: None),
        patch.object(media, "save_episode", lambda *_: None),
        patch.object(media, "save_curves", lambda *_: None),
    ):
        yield


def play(
    path: Path,
    config: RunConfig,
    placement: Placement,
    faults: list[Fault] | None = None,
    kill_node: Callable[[], None] | None = None,
) -> Outcome:
    """Runs to the end, whatever strikes; what is then on the disk, which must verify.

    Args:
        kill_node: kills the node on which the workers are, where there are several.
    """
    injector = Injector(config, faults or [], kill_node)
    run = RunDirectory.claim(path, config)
    try:
        run.begin(config)
        workers = start_fakes(config, run, placement)
        by_kind = {
            "store": lambda: [workers.store],
            "learner": lambda: workers.every_learner,
            "collector": lambda: workers.collectors,
            "evaluator": lambda: workers.evaluators,
        }
        injector.victims = lambda kind, number: by_kind[kind]()[number % len(by_kind[kind]())]
        try:
            with without_pictures(), StopSignals() as stop:
                Driver(config, run, workers, injector, stop).run()
        finally:
            for actor in (workers.store, *workers.every_learner, *workers.collectors, *workers.evaluators):
                ray.kill(actor)
        return outcome(run, config, injector.lines)
    finally:
        run.close()


def verifies(run: RunDirectory) -> bool:
    """What `pipeline.verify` says, without its words."""
    with redirect_stdout(io.StringIO()):
        return verify(run, digest=False) == 0


def outcome(run: RunDirectory, config: RunConfig, lines: list[str]) -> Outcome:
    """Raises AssertionError if a byte is damaged, a step is missing or doubled, or was taken with other weights than
    those of the iteration before, or in an overlapped schedule of the one before that."""
    assert verifies(run)
    store = ReplayStore(run.replay, run_name(config))
    newest = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
    lost = sum(newest.state.lost.values()) if newest else 0  # none, where no test accepted it
    assert store.num_steps == config.planned_steps(config.iterations) - lost
    at_once = config.iterations_at_once
    assert all(chunk.policy_version == max(0, chunk.iteration - at_once) for chunk in store.chunks())
    return Outcome(logical_digest(run, config), store.num_steps, lines)
