"""An iteration is durable as a whole or never happened: committing, and going back to the last commit.

Going back is the same for a run that is started again and for one that has lost a process, a node or a file: who does
not answer is replaced, what is damaged is put aside, and everyone is brought to the newest commit that can be used.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from actors.replay.damage import DamagedSegmentError
from learners.durable import make_directory, write_durably
from learners.errors import RecoverableError
from pipeline.checkpoint import Checkpoint, Checkpoints, State
from pipeline.commit_mark import check_commits, leave_mark
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.finish import finish
from pipeline.metrics import MetricsLog, append_timings
from pipeline.play import Metrics, Play
from pipeline.progress import Reporter
from pipeline.run_dir import METRICS_FILE, RunDirectory
from pipeline.stop import StopSignals
from pipeline.workers import Workers

READ_ITERATIONS = 10
"""Iterations read from the store at once on resume: bounds what lies in the object store."""
EARLIER_WEIGHTS_FILE = "earlier-weights.bin"
"""Of an overlapped schedule: what acted one iteration before a commit, and acts in the first one after it."""


class Gauges(Protocol):
    """Who is told how far a run is."""

    def committed(self, metrics: Mapping[str, Any], seconds: float, phases: Mapping[str, float]) -> None: ...

    def lost(self) -> None: ...


@dataclass(frozen=True)
class Start:
    """Where iterations go on: what every process holds already is not in it."""

    committed: int
    metrics: MetricsLog
    collector_states: list[bytes]
    weights: dict[int, Any]
    """References to the weights that act in the next iterations, by the iteration that has learnt them."""


class Transaction:
    """The commits of one run, and the way back to them."""

    def __init__(
        self,
        config: RunConfig,
        run: RunDirectory,
        workers: Workers,
        reporter: Reporter,
        stop: StopSignals,
        *,
        accept_loss: bool,
        gauges: Gauges | None,
    ) -> None:
        self._config = config
        self._run = run
        self._workers = workers
        self._reporter = reporter
        self._stop = stop
        self._accept_loss = accept_loss
        self._gauges = gauges
        self._checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
        self._committed = 0
        self._lost_steps: dict[int, int] = {}  # accepted; by iteration
        self._losses = 0  # since the last commit
        self._last_end = time.perf_counter()

    @property
    def where_it_stands(self) -> str:
        return f"iteration {self._committed} is the last commit; the same command resumes there"

    @property
    def has_gaps(self) -> bool:
        """Whether steps are missing, which was accepted."""
        return bool(self._lost_steps)

    def prepare(self, iteration: int) -> Path:
        """A directory for the files of an iteration's commit."""
        return self._checkpoints.prepare(iteration)

    async def commit(self, play: Play, log: MetricsLog, weights: Mapping[int, Any]) -> None:
        """Makes an iteration durable as a whole. A stop signal waits until it is.

        Args:
            weights: references to what acts in the next iterations.

        Raises: OSError if the disk fails, or another process has come to write into the run's directory.
        """
        head = {name: play.metrics.pop(name) for name in ("iteration", "steps")}
        metrics = head | play.inspected | play.metrics
        with self._stop.deferred():
            self._run.check_lock()
            log.append(metrics)
            if play.directory:
                self._reporter.phase(play.iteration, "commit", 0, 1)
                with play.timed("commit"):
                    await self._write_checkpoint(play, play.directory, log, weights)
            now = time.perf_counter()
            total, self._last_end = now - self._last_end, now
            append_timings(self._run.timings_file, play.iteration, {"total": total, **play.seconds})
        sealed = self._workers.store.call("seal", min(self._checkpoints.iterations(), default=0))
        await self._workers.arrival(sealed, "small files to be joined")
        if self._gauges:
            self._gauges.committed(metrics, total, play.seconds)
        self._reporter.line(_summary(self._config.iterations, metrics, total))

    async def save_failure(self, play: Play, error: Exception) -> str:
        """Keeps the state of learners that cannot go on; where it is, in words."""
        directory = self._run.failures / f"{play.iteration:04d}"
        make_directory(directory)
        saved = [group.lead.call("save", str(directory), list(group.parts)) for group in self._workers.learners]
        await self._workers.arrival(saved, "the learner to save its state")
        write_durably(directory / "reason.txt", f"{error}\n".encode())
        return f"the weights before that step are in {directory}, iteration {self._committed} is the last commit"

    async def recover(self, loss: RecoverableError) -> None:
        """Replaces processes or puts files into quarantine, so that the run can `resume`.

        Raises: RunFailedError if that has happened too often since the last commit.
        """
        self._losses += 1
        if self._gauges:
            self._gauges.lost()
        if self._losses > self._config.cluster.max_losses:
            count = f"that was loss {self._losses} since the last commit: giving up"
            raise RunFailedError(f"{loss}; {count}; {self.where_it_stands}") from loss
        self._reporter.line(f"{loss}; going back to iteration {self._committed}, the last commit")
        if isinstance(loss, DamagedSegmentError):
            repaired = self._workers.store.call("repair")
            for damage in await self._workers.arrival(repaired, "the replay store to be repaired"):
                self._reporter.line(f"put into quarantine: {damage}")
            return
        # Without a commit there is nothing that those who have learnt or played already could go back to.
        replaced = self._workers.replace_lost() if self._committed else self._workers.replace_all()
        self._reporter.line(f"started again: {', '.join(replaced) or 'nothing, all answer'}")

    async def resume(self) -> Start:
        """Brings every process to the last commit; what was stored after it never happened.

        Raises: UsageError, in one line, if so much is damaged that no commit can be gone back to.
        """
        checkpoint = await self._reload_experience()
        states: list[bytes] = []
        weights: dict[int, Any] = {}
        if checkpoint:
            for reason in checkpoint.passed_over:
                self._reporter.line(f"passed over: {reason}")
            leave_mark(self._run)
            await self._restore(checkpoint, states, weights)
            self._reporter.line(f"resuming after iteration {self._committed} ({checkpoint.state.steps} steps)")
            before, now = checkpoint.state.machine, self._machine()
            if changed := [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]:
                words = f"not bit-identical to an uninterrupted run from here on: {', '.join(changed)}"
                self._reporter.line(words)
        weights[self._committed] = await self._workers.publish()
        await self._workers.join_ranks()
        metrics = checkpoint.read(METRICS_FILE) if checkpoint else b""
        log = MetricsLog(self._run.metrics_file, self._run.tensorboard, metrics)
        self._last_end = time.perf_counter()
        return Start(self._committed, log, states, weights)

    def finish(self) -> None:
        """Curves and the final score."""
        if checkpoint := self._checkpoints.newest():
            finish(self._run, self._config, checkpoint)

    async def _write_checkpoint(self, play: Play, directory: Path, log: MetricsLog, weights: Mapping[int, Any]) -> None:
        files = {_collector_file(index): state for index, state in enumerate(play.collector_states)}
        files[METRICS_FILE] = log.content
        if self._config.iterations_at_once > 1:
            earlier = weights[self._config.version_for(play.iteration + 1)]
            files[EARLIER_WEIGHTS_FILE] = (await self._workers.arrival(earlier, "earlier weights")).tobytes()
        hashes = {}
        for name, content in files.items():
            write_durably(directory / name, content)
            hashes[name] = sha256(content).hexdigest()
        for saved in await self._workers.arrival(play.saved, "the learner to save its state"):
            hashes |= saved
        state = State(
            iteration=play.iteration,
            iterations=self._config.iterations,
            steps=self._config.planned_steps(play.iteration),
            lost=self._lost_steps,
            identity=self._config.identity_hash(),
            evaluation=[(episode.score, episode.length) for episode in play.evaluation],
            machine=self._machine(),
        )
        self._checkpoints.commit(directory, state, hashes)
        leave_mark(self._run)
        self._committed, self._losses = play.iteration, 0

    async def _restore(self, checkpoint: Checkpoint, states: list[bytes], weights: dict[int, Any]) -> None:
        """Fills in what the collectors and the acting weights were.

        Raises: UsageError if its files are not of this run's processes, although their checksums hold.
        """
        workers = self._workers
        try:
            loaded = [each.call("load", str(checkpoint.path)) for each in workers.every_learner]
            await workers.arrival(loaded, "the learner to load its state")
            states += [checkpoint.read(_collector_file(i)) for i in range(len(workers.collectors))]
            pairs = zip(workers.collectors, states, strict=True)
            restored = [collector.call("set_state", state) for collector, state in pairs]
            await workers.arrival(restored, "the collectors' states")
            if self._config.iterations_at_once > 1:
                earlier = np.frombuffer(checkpoint.read(EARLIER_WEIGHTS_FILE), dtype=np.uint8)
                weights[self._config.version_for(checkpoint.iteration + 1)] = workers.processes.put(earlier)
        except ValueError as error:
            raise UsageError(f"{checkpoint.path}: {error}") from error

    async def _reload_experience(self) -> Checkpoint | None:
        """The newest checkpoint whose steps are all stored; later ones are dropped, the learners mirror the rest."""
        workers = self._workers
        stored = await workers.arrival(workers.store.call("steps"), "the replay store to open")
        checkpoint, lost = self._choose_checkpoint(stored)
        self._committed = checkpoint.iteration if checkpoint else 0
        # What is lost from the store goes from the mirror, too, as it would in a resume.
        kept = self._committed if lost == self._lost_steps else 0
        self._lost_steps = lost
        self._checkpoints.clean()
        await workers.arrival(workers.store.call("truncate", self._committed), "the replay store to go back")
        learners = workers.every_learner
        backs = await workers.arrival([each.call("truncate", kept) for each in learners], "the learner to go back")
        for mirrored in sorted(set(backs)):
            behind = [each for each, back in zip(learners, backs, strict=True) if back == mirrored]
            for first in range(mirrored + 1, self._committed + 1, READ_ITERATIONS):
                self._reporter.phase(self._committed, "resume", first - 1, self._committed)
                chunks = workers.store.call("read", first, min(first + READ_ITERATIONS - 1, self._committed))
                await workers.mirror([chunks], behind, gaps=self.has_gaps)
        return checkpoint

    def _choose_checkpoint(self, stored: Mapping[int, int]) -> tuple[Checkpoint | None, dict[int, int]]:
        """What to go back to, and how many steps of which iterations are to be done without.

        Raises: UsageError if no checkpoint is intact, all are gone, or each counts on steps that are lost and that is
            not accepted.
        """
        check_commits(self._run.path, self._config)

        def refusal(state: State) -> str | None:
            for iteration in range(1, state.iteration + 1):
                found, expected = stored.get(iteration, 0), self._config.collection.steps_in(iteration)
                expected -= state.lost.get(iteration, 0)
                if found != expected:
                    return f"{self._run.replay}: found {found} steps of iteration {iteration}, expected {expected}"
            return None

        try:
            checkpoint = self._checkpoints.newest(refusal)
            return checkpoint, checkpoint.state.lost if checkpoint else {}
        except UsageError as error:
            checkpoint = self._checkpoints.newest()
            last = checkpoint.iteration if checkpoint else 0
            missing = {i: self._config.collection.steps_in(i) - stored.get(i, 0) for i in range(1, last + 1)}
            if min(missing.values(), default=-1) < 0:
                raise  # more steps than were planned are no loss
            if not self._accept_loss:
                raise UsageError(f"{error}; --accept-loss goes on without those steps and records it") from error
        lost = {iteration: count for iteration, count in missing.items() if count}
        words = ", ".join(f"{count} of iteration {iteration}" for iteration, count in lost.items())
        self._reporter.line(f"accepted that steps are lost: {words}")
        return checkpoint, lost

    def _machine(self) -> dict[str, str | int]:
        """What bit-identity depends on beyond the configuration."""
        layout, packages = self._workers.layout, {name: version(name) for name in ("torch", "numpy", "ray")}
        ranks = len(self._workers.learners[0].ranks)
        threads = {"device": layout.device, "threads": layout.threads, "ranks": ranks}
        return {**threads, "cpu": _cpu_model(), "python": platform.python_version(), **packages}


def _collector_file(index: int) -> str:
    return f"collector-{index}.state"


def _summary(num_iterations: int, metrics: Metrics, seconds: float) -> str:
    """One line for people about an iteration."""
    words = [f"iteration {metrics['iteration']}/{num_iterations}", f"{metrics['steps']} steps"]
    losses = {name.removesuffix("/loss"): value for name, value in metrics.items() if name.endswith("/loss")}
    words += [f"{part.replace('_', ' ')} {loss:.3f}" for part, loss in losses.items()]
    if "evaluation/score_mean" in metrics:
        words.append(f"score {metrics['evaluation/score_mean']:.2f} ± {metrics['evaluation/score_std']:.2f}")
    return " | ".join([*words, f"{seconds:.1f} s"])


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
