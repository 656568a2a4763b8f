"""An iteration is durable as a whole or never happened: committing, and going back to the last commit.

Going back is the same for a run that is started again and for one that has lost a process, a node or a file: who does
not answer is replaced, what is damaged is put aside, and everyone is brought to the newest commit that can be used.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from actors.audit import audit
from actors.damage import Damage, DamagedExperienceError
from actors.store_index import Index, Link, Receipt, lost_by_iteration
from learners.durable import make_directory, write_durably
from learners.errors import RecoverableError
from pipeline.checkpoint import Checkpoint, Checkpoints, State
from pipeline.commit_mark import check_commits, leave_mark
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.finish import finish
from pipeline.iteration import Metrics, Play
from pipeline.machine import changes_of, machine_of
from pipeline.metrics import MetricsLog, append_timings
from pipeline.progress import Reporter
from pipeline.run_dir import METRICS_FILE, RunDirectory
from pipeline.stop import StopSignals
from pipeline.workers import Workers

MIRROR_ITERATIONS = 10
"""Iterations taken up by learners in one call on resume: bounds how long that takes."""
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
        self._store = run.store(config)
        self._newest: Link | None = None  # of the store's indices
        self._committed = 0
        self._lost: list[Receipt] = []  # accepted
        self._losses = 0  # since the last commit
        self._last_end = time.perf_counter()

    @property
    def where_it_stands(self) -> str:
        return f"iteration {self._committed} is the last commit; the same command resumes there"

    @property
    def has_gaps(self) -> bool:
        """Whether steps are missing, which was accepted."""
        return bool(self._lost)

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
            if play.receipts:
                self._newest = self._store.write_index(play.iteration, self._newest, play.receipts)
            if play.directory:
                self._reporter.phase(play.iteration, "commit", 0, 1)
                with play.timed("commit"):
                    await self._write_checkpoint(play, play.directory, log, weights)
            now = time.perf_counter()
            total, self._last_end = now - self._last_end, now
            append_timings(self._run.timings_file, play.iteration, {"total": total, **play.seconds})
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
        if isinstance(loss, DamagedExperienceError):
            self._quarantine_damaged(loss)
            if self._committed:
                return
        # Without a commit there is nothing that those who have learnt or played already could go back to.
        replaced = self._workers.replace_lost() if self._committed else self._workers.replace_all()
        self._reporter.line(f"started again: {', '.join(replaced) or 'nothing, all answer'}")

    async def resume(self) -> Start:
        """Brings every process to the last commit; what was stored after it never happened.

        Raises: UsageError, in one line, if so much is damaged that no commit can be gone back to.
        """
        checkpoint, history = await self._reload_experience()
        states: list[bytes] = []
        weights: dict[int, Any] = {}
        if checkpoint:
            for reason in checkpoint.passed_over:
                self._reporter.line(f"passed over: {reason}")
            leave_mark(self._run)
            await self._restore(checkpoint, states, weights)
            self._reporter.line(f"resuming after iteration {self._committed} ({checkpoint.state.steps} steps)")
            if changes := changes_of(checkpoint.state.machine, self._machine()):
                self._reporter.line(changes)
        # Everybody has answered: who could still have written of what did not happen is done with it.
        self._store.clear(history)
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
            experience=self._newest,
            lost=self._lost,
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

    async def _reload_experience(self) -> tuple[Checkpoint | None, list[Index]]:
        """The newest checkpoint whose steps are all stored, and where those are; the learners mirror them."""
        workers = self._workers
        checkpoint, history, lost = self._choose_checkpoint()
        self._committed = checkpoint.iteration if checkpoint else 0
        self._newest = checkpoint.state.experience if checkpoint else None
        # What is lost from the store goes from the mirror, too, as it would in a resume.
        kept = self._committed if lost == self._lost else 0
        self._lost = lost
        self._checkpoints.clean()
        learners = workers.every_learner
        backs = await workers.arrival([each.call("truncate", kept) for each in learners], "the learner to go back")
        for mirrored in sorted(set(backs)):
            behind = [each for each, back in zip(learners, backs, strict=True) if back == mirrored]
            ahead = [[each for each in index.receipts if each not in lost] for index in history]
            ahead = [receipts for receipts in ahead if receipts and receipts[0].iteration > mirrored]
            for first in range(0, len(ahead), MIRROR_ITERATIONS):
                self._reporter.phase(self._committed, "resume", first, len(ahead))
                await workers.mirror(ahead[first : first + MIRROR_ITERATIONS], behind, gaps=self.has_gaps)
        return checkpoint, history

    def _choose_checkpoint(self) -> tuple[Checkpoint | None, list[Index], list[Receipt]]:
        """What to go back to, the indices that lead there, and which files are to be done without.

        Raises: UsageError if no checkpoint is intact, all are gone, or each counts on steps that are lost and that is
            not accepted.
        """
        check_commits(self._run.path, self._config)

        def refusal(state: State) -> str | None:
            try:
                history = self._store.history(state.experience)
            except DamagedExperienceError as error:
                return f"{self._run.replay}: {error}"
            if (found := sum(index.steps for index in history)) != state.steps:
                return f"{self._run.replay}: found {found} steps, expected {state.steps}"
            missing = self._missing(history, state.lost)
            return f"{self._run.replay}: {missing[0][1]}" if missing else None

        lost: list[Receipt] = []
        try:
            checkpoint = self._checkpoints.newest(refusal)
        except UsageError as error:
            if not (checkpoint := self._checkpoints.newest()):
                raise
            try:
                missing = self._missing(self._store.history(checkpoint.state.experience), checkpoint.state.lost)
            except DamagedExperienceError:
                raise error from None
            if not missing:
                raise
            if not self._accept_loss:
                raise UsageError(f"{error}; --accept-loss goes on without those steps and records it") from error
            for receipt, damage in missing:
                self._store.quarantine(damage)
                lost.append(receipt)
            counts = lost_by_iteration(lost).items()
            words = ", ".join(f"{count} of iteration {iteration}" for iteration, count in counts)
            self._reporter.line(f"accepted that steps are lost: {words}")
        if not checkpoint:
            return None, [], []
        for damage in self._store.restore_indices(checkpoint.state.experience):
            self._reporter.line(f"put into quarantine, and made anew: {damage}")
        return checkpoint, self._store.history(checkpoint.state.experience), [*checkpoint.state.lost, *lost]

    def _missing(self, history: Sequence[Index], lost: Sequence[Receipt]) -> list[tuple[Receipt, Damage]]:
        """Files that are not there as they were, and are not known to be."""
        receipts = [each for index in history for each in index.receipts if each not in lost]
        return [(each, damage) for each in receipts if (damage := self._store.missing(each))]

    def _quarantine_damaged(self, loss: DamagedExperienceError) -> None:
        """Whatever is damaged of what was committed, and what the loss names unless that was committed and is whole:
        a disk, or the way to it, may have failed whoever read it."""
        found = {loss.damage.file: loss.damage}
        if checkpoint := self._checkpoints.newest():
            with suppress(DamagedExperienceError):  # said when a checkpoint is chosen
                history = self._store.history(checkpoint.state.experience)
                damaged = audit(self._store, history, checkpoint.state.lost)
                for receipt in (receipt for index in history for receipt in index.receipts):
                    found.pop(receipt.file, None)
                found |= {each.file: each for each in damaged}
        for file, damage in found.items():
            if file:
                self._store.quarantine(damage)
                self._reporter.line(f"put into quarantine: {damage}")

    def _machine(self) -> dict[str, str | int]:
        """What bit-identity depends on beyond the configuration."""
        layout, ranks = self._workers.layout, len(self._workers.learners[0].ranks)
        return machine_of(layout.device, layout.threads, ranks=ranks)


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
