"""A run whose processes are fakes under Ray, and faults that strike it where they are told to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any, cast

import ray

from cluster.process import Process
from cluster.ray_processes import RayProcess, RayProcesses
from pipeline.config import RunConfig
from pipeline.driver import Driver
from pipeline.run_dir import RunDirectory
from pipeline.stop import StopSignals
from tests.faults import victim_side
from tests.faults.stand_ins import CALL_TIMEOUT_S, PHASES, Listener, Outcome, outcome, start_fakes, without_pictures


def processes_for_fakes() -> RayProcesses:
    """On one CPU of the cluster that was joined."""
    processes = RayProcesses(CALL_TIMEOUT_S)
    processes.reserve([{"CPU": 1}])
    return processes


@dataclass
class Fault:
    """SIGKILL of a process, or another signal, in a phase of an iteration."""

    kind: str
    iteration: int
    phase: str
    delay_s: float = 0.0
    """After the phase began."""
    disk_call: str | None = None
    """Instead: at this call of `learners/durable.py` …"""
    count: int = 1
    """… when the process makes it for the so-many-th time after the phase began."""
    signal: signal.Signals = signal.SIGKILL
    pid: int | None = None
    """Of the process, once it was struck."""
    hit: str | None = None
    """The phase in which the process was killed; None if it was not."""
    recovered_s: float | None = None
    """From the kill until the run made progress again."""

    def __str__(self) -> str:
        where = f"{self.disk_call} {self.count}" if self.disk_call else f"+{self.delay_s * 1000:.0f} ms"
        return f"{self.kind} in {self.phase} of iteration {self.iteration}, {where}"


class Injector(Listener):
    """Hears from the driver which phase begins, and strikes."""

    def __init__(self, config: RunConfig, faults: list[Fault], kill_node: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._kill_node = kill_node
        self._waiting = list(faults)
        self._unrecovered: list[tuple[Fault, float]] = []
        self._phase = "start"
        self.victims: Callable[[str, int], Process] | None = None

    def phase(self, iteration: int, name: str, done: int, total: int) -> None:
        self._phase = name
        if done or name in PHASES[1:]:  # a chunk was stored and mirrored, or a gradient step was taken
            self._note_progress()
        kinds = set()  # of the same kind one after another
        for fault in [] if done else list(self._waiting):
            if (fault.iteration, fault.phase) == (iteration, name) and fault.kind not in kinds:
                kinds.add(fault.kind)
                self._waiting.remove(fault)
                self._strike(fault)

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
        victim = _actor(self.victims(fault.kind, fault.iteration))
        pid: Any = ray.get(victim.__ray_call__.remote(victim_side.pid), timeout=CALL_TIMEOUT_S)
        fault.pid = pid

        def struck() -> None:
            fault.hit = self._phase
            self._unrecovered.append((fault, time.monotonic()))

        if fault.disk_call:
            ray.get(
                victim.__ray_call__.remote(victim_side.die_at, fault.disk_call, fault.count), timeout=CALL_TIMEOUT_S
            )
            Timer(0.0, _when_dead, (pid, struck)).start()
        elif fault.delay_s:
            Timer(fault.delay_s, lambda: (struck(), os.kill(pid, fault.signal))).start()
        else:
            struck()
            os.kill(pid, fault.signal)

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


def play(
    path: Path,
    config: RunConfig,
    processes: RayProcesses,
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
        workers = start_fakes(config, run, processes)
        by_kind = {
            "learner": lambda: workers.every_learner,
            "collector": lambda: workers.collectors,
            "evaluator": lambda: workers.evaluators,
        }
        injector.victims = lambda kind, number: by_kind[kind]()[number % len(by_kind[kind]())]
        try:
            with without_pictures(), StopSignals() as stop:
                Driver(config, run, workers, injector, stop).run()
        finally:
            for process in (*workers.every_learner, *workers.collectors, *workers.evaluators):
                ray.kill(_actor(process))
        return outcome(run, config, injector.lines)
    finally:
        run.close()


def _actor(process: Process) -> Any:
    return cast(RayProcess, process).actor
