"""The loop: collect, train each part, publish the weights, evaluate, commit.

The driver holds no experience and computes nothing: it wires references between processes, so that frames go from the
collectors to the store and the learner without passing through it. An iteration counts once its commit is on the disk;
whatever happens before leaves the last one standing, and `resume` goes on from there.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import numpy as np
import ray

from actors.collector import CollectionReport
from actors.evaluator import EpisodeScore
from actors.replay.damage import DamagedSegmentError
from cluster.errors import ClusterError, LostError
from cluster.supervise import wait
from learners.durable import make_directory, write_durably
from learners.part_trainer import BatchTooLargeError, DivergedError
from pipeline import media
from pipeline.checkpoint import Checkpoint, Checkpoints, State
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.metrics import MetricsLog, append_timings
from pipeline.progress import Reporter
from pipeline.result import scores_bytes
from pipeline.run_dir import METRICS_FILE, RunDirectory
from pipeline.stop import StopSignals
from pipeline.workers import Workers

READ_ITERATIONS = 10
"""Iterations read from the store at once on resume: bounds what lies in the object store."""
Metrics = dict[str, Any]


class Driver:
    """One run, from its last commit to its last iteration."""

    def __init__(
        self,
        config: RunConfig,
        run: RunDirectory,
        workers: Workers,
        reporter: Reporter,
        stop: StopSignals,
        *,
        accept_loss: bool = False,
    ) -> None:
        """With `accept_loss`, steps that no kept commit can do without may be lost: the run goes on without them."""
        self.config = config
        self._accept_loss = accept_loss
        self._lost_steps: dict[int, int] = {}  # accepted; by iteration
        self._stop = stop
        self._run = run
        self._workers = workers
        self._reporter = reporter
        self._checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
        self._seconds: dict[str, float] = {}
        self._losses = 0
        self.committed = 0
        """Last iteration that is durable."""

    def run(self) -> None:
        """Plays all iterations. Where a process is lost, it is replaced and the run goes back to the last commit.

        Raises: RunFailedError if that happens too often between two commits, the cluster has no place for what was
            lost, or the disk fails; UsageError if so much is damaged that no commit can be gone back to.
        """
        loss: LostError | DamagedSegmentError | None = None
        while True:
            try:
                if loss:
                    self._recover(loss)
                self._resume()
                with closing(self._metrics):
                    for iteration in range(self.committed + 1, self.config.iterations + 1):
                        self._play(iteration)
                return self._finish()
            except (LostError, DamagedSegmentError) as error:
                loss = error
            except (ClusterError, OSError) as error:
                raise RunFailedError(f"{error}; {self._words_on_resuming()}") from error

    def _play(self, iteration: int) -> None:
        metrics: Metrics = {"iteration": iteration, "steps": self.config.planned_steps(iteration)}
        metrics |= self._collect(iteration)
        metrics |= self._inspect(iteration)
        for part in self.config.trainings:
            if self.config.may_train(part, iteration, self._metrics.records, metrics):
                metrics |= self._train(part, iteration)
        self._publish(iteration)
        metrics |= self._evaluate(iteration)
        self._commit(iteration, metrics)

    def _collect(self, iteration: int) -> Metrics:
        """Every collector takes its share of the steps; the store makes them durable, then the learner mirrors them."""
        if not (num_steps := self.config.steps_in(iteration)):
            return {}
        with self._phase(iteration, "collect", num_steps):
            shares = _shares(num_steps, len(self._workers.collectors))
            calls = [
                collector.collect.options(num_returns=3).remote(iteration, share, self._weights, self._version)
                for collector, share in zip(self._workers.collectors, shares, strict=True)
            ]
            chunks, reports, states = zip(*calls, strict=True)
            self._wait([self._workers.store.append.remote(each) for each in chunks], "collected steps to be stored")
            self._wait([self._mirror(each) for each in chunks], "the learner to mirror them")
            self._collector_states = self._wait(list(states), "the collectors' states")
            return _episode_metrics(self._wait(list(reports), "the collectors' reports"))

    def _inspect(self, iteration: int) -> Metrics:
        """Where the schedule says so: every part as it is, on the steps just collected, which none has trained on."""
        if iteration % self.config.inspect_every and iteration != self.config.iterations:
            return {}
        with self._phase(iteration, "inspect", 1):
            inspection = self._wait(self._workers.learner.inspect.remote(iteration), "the parts to be inspected")
            media.save_inspection(self._run.media, iteration, inspection)
        return inspection.metrics

    def _train(self, part: str, iteration: int) -> Metrics:
        """All gradient steps of a part, in slices, so that no wait is long; the mean of its metrics."""
        training = self.config.trainings[part]
        total, totals = training.steps_per_iteration, {}
        with self._phase(iteration, part.replace("_", " "), total):
            for first in range(0, total, self.config.log_every):
                steps = range(first, min(first + self.config.log_every, total))
                call = self._workers.learner.train.remote(part, iteration, steps)
                try:
                    means = self._wait(call, f"gradient steps of {part}")
                except BatchTooLargeError as error:
                    flag = f"--{self.config.setting_of(part)}.batch-size".replace("_", "-")
                    raise UsageError(f"{flag}: {error}") from error
                except DivergedError as error:
                    raise RunFailedError(f"{error}; {self._save_failure(iteration, str(error))}") from error
                for name, mean in means.items():
                    totals[name] = totals.get(name, 0.0) + mean * len(steps)
                self._reporter.phase(iteration, part.replace("_", " "), steps.stop, total)
        return {f"{part}/{name}": value / total for name, value in totals.items()}

    def _publish(self, iteration: int) -> None:
        """Puts the acting weights into the object store, once, for every collector and evaluator."""
        # An object put by the learner would die with it; the driver's outlives any worker.
        self._weights = ray.put(self._wait(self._workers.learner.weights.remote(), "the learner's weights"))
        self._version = iteration

    def _evaluate(self, iteration: int) -> Metrics:
        """Plays whole episodes where the schedule says so; the last evaluation is the longest."""
        evaluation, last = self.config.evaluation, iteration == self.config.iterations
        self._evaluation: list[EpisodeScore] = []
        if not last and iteration % evaluation.every:
            return {}
        episodes, size = evaluation.final_episodes if last else evaluation.episodes, evaluation.envs_per_evaluator
        with self._phase(iteration, "evaluate", episodes):
            calls = []
            for batch, first in enumerate(range(0, episodes, size)):
                evaluator = self._workers.evaluators[batch % len(self._workers.evaluators)]
                count = min(size, episodes - first)
                arguments = (iteration, batch, count, self._weights)
                calls.append(evaluator.play.options(num_returns=2).remote(*arguments, record=batch == 0))
            for results, _ in calls:
                self._evaluation += self._wait(results, "evaluation episodes")
                self._reporter.phase(iteration, "evaluate", len(self._evaluation), episodes)
            media.save_episode(self._run.media, iteration, self._wait(calls[0][1], "a recorded episode"))
        scores = np.array([episode.score for episode in self._evaluation])
        return {
            "evaluation/episodes": len(scores),
            "evaluation/score_mean": float(scores.mean()),
            "evaluation/score_std": float(scores.std()),
            "evaluation/length_mean": float(np.mean([episode.length for episode in self._evaluation])),
        }

    def _commit(self, iteration: int, metrics: Metrics) -> None:
        """Makes the iteration durable as a whole. A stop signal waits until it is."""
        with self._stop.deferred():
            self._metrics.append(metrics)
            last = iteration == self.config.iterations
            if last or iteration % self.config.checkpoint.every == 0:
                with self._phase(iteration, "commit", 1):
                    self._write_checkpoint(iteration)
            append_timings(self._run.timings_file, iteration, self._seconds)
        self._reporter.line(_summary(self.config.iterations, metrics, sum(self._seconds.values())))
        self._seconds = {}

    def _write_checkpoint(self, iteration: int) -> None:
        directory = self._checkpoints.prepare(iteration)
        saved = self._workers.learner.save.remote(str(directory))
        hashes = {}
        for index, state in enumerate(self._collector_states):
            write_durably(directory / _collector_file(index), state)
            hashes[_collector_file(index)] = sha256(state).hexdigest()
        write_durably(directory / METRICS_FILE, self._metrics.content)
        hashes[METRICS_FILE] = sha256(self._metrics.content).hexdigest()
        hashes |= self._wait(saved, "the learner to save its state")
        state = State(
            iteration=iteration,
            iterations=self.config.iterations,
            steps=self.config.planned_steps(iteration),
            lost=self._lost_steps,
            identity=self.config.identity_hash(),
            evaluation=[(episode.score, episode.length) for episode in self._evaluation],
            machine=self._machine(),
        )
        self._checkpoints.commit(directory, state, hashes)
        self.committed, self._losses = iteration, 0
        self._wait(self._workers.store.seal.remote(self._checkpoints.iterations()[0]), "small files to be joined")

    def _save_failure(self, iteration: int, reason: str) -> str:
        """Keeps the state of a learner that cannot go on; where it is, in words."""
        directory = self._run.failures / f"{iteration:04d}"
        make_directory(directory)
        self._wait(self._workers.learner.save.remote(str(directory)), "the learner to save its state")
        write_durably(directory / "reason.txt", (reason + "\n").encode())
        return f"the weights before that step are in {directory}, iteration {self.committed} is the last commit"

    def _words_on_resuming(self) -> str:
        return f"iteration {self.committed} is the last commit; the same command resumes there"

    def _recover(self, loss: LostError | DamagedSegmentError) -> None:
        """Replaces processes or puts files into quarantine, so that the run can `_resume`."""
        self._losses += 1
        if self._losses > self.config.cluster.max_losses:
            count = f"that was loss {self._losses} since the last commit: giving up"
            raise RunFailedError(f"{loss}; {count}; {self._words_on_resuming()}") from loss
        self._reporter.line(f"{loss}; going back to iteration {self.committed}, the last commit")
        if isinstance(loss, DamagedSegmentError):
            for damage in self._wait(self._workers.store.repair.remote(), "the replay store to be repaired"):
                self._reporter.line(f"put into quarantine: {damage}")
            return
        # Without a commit there is nothing that those who have learnt or played already could go back to.
        replaced = self._workers.replace_lost() if self.committed else self._workers.replace_all()
        self._reporter.line(f"started again: {', '.join(replaced) or 'nothing, all answer'}")

    def _resume(self) -> None:
        """Brings every process to the last commit; what was stored after it never happened.

        Raises: UsageError, in one line, if so much is damaged that no commit can be gone back to.
        """
        self._seconds = {}
        checkpoint = self._reload_experience()
        for reason in checkpoint.passed_over if checkpoint else ():
            self._reporter.line(f"passed over: {reason}")
        self._collector_states: list[bytes] = []
        if checkpoint:
            self._restore(checkpoint)
            self._reporter.line(f"resuming after iteration {self.committed} ({checkpoint.state.steps} steps)")
            before, now = checkpoint.state.machine, self._machine()
            if changed := [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]:
                words = f"not bit-identical to an uninterrupted run from here on: {', '.join(changed)}"
                self._reporter.line(words)
        metrics = checkpoint.read(METRICS_FILE) if checkpoint else b""
        self._metrics = MetricsLog(self._run.metrics_file, self._run.tensorboard, metrics)
        self._publish(self.committed)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Raises: UsageError if its files are not of this run's processes, although their checksums hold."""
        try:
            self._wait(self._workers.learner.load.remote(str(checkpoint.path)), "the learner to load its state")
            self._collector_states = [checkpoint.read(_collector_file(i)) for i in range(len(self._workers.collectors))]
            pairs = zip(self._workers.collectors, self._collector_states, strict=True)
            self._wait([collector.set_state.remote(state) for collector, state in pairs], "the collectors' states")
        except ValueError as error:
            raise UsageError(f"{checkpoint.path}: {error}") from error

    def _reload_experience(self) -> Checkpoint | None:
        """The newest checkpoint whose steps are all stored; later ones are dropped, the learner mirrors the rest."""
        stored = self._wait(self._workers.store.steps.remote(), "the replay store to open")
        checkpoint, lost = self._choose_checkpoint(stored)
        self.committed = checkpoint.iteration if checkpoint else 0
        # What is lost from the store goes from the mirror, too, as it would in a resume.
        mirrored = self.committed if lost == self._lost_steps else 0
        self._lost_steps = lost
        self._wait(self._workers.store.truncate.remote(self.committed), "the replay store to go back")
        mirrored = self._wait(self._workers.learner.truncate.remote(mirrored), "the learner to go back")
        for first in range(mirrored + 1, self.committed + 1, READ_ITERATIONS):
            self._reporter.phase(self.committed, "resume", first - 1, self.committed)
            chunks = self._workers.store.read.remote(first, min(first + READ_ITERATIONS - 1, self.committed))
            self._wait(self._mirror(chunks), "the learner to mirror the replay store")
        return checkpoint

    def _choose_checkpoint(self, stored: Mapping[int, int]) -> tuple[Checkpoint | None, dict[int, int]]:
        """What to go back to, and how many steps of which iterations are to be done without.

        Raises: UsageError if no checkpoint is intact, or each counts on steps that are lost and that is not accepted.
        """

        def refusal(state: State) -> str | None:
            for iteration in range(1, state.iteration + 1):
                found, expected = stored.get(iteration, 0), self.config.steps_in(iteration)
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
            missing = {i: self.config.steps_in(i) - stored.get(i, 0) for i in range(1, last + 1)}
            if min(missing.values(), default=-1) < 0:
                raise  # more steps than were planned are no loss
            if not self._accept_loss:
                raise UsageError(f"{error}; --accept-loss goes on without those steps and records it") from error
        lost = {iteration: count for iteration, count in missing.items() if count}
        words = ", ".join(f"{count} of iteration {iteration}" for iteration, count in lost.items())
        self._reporter.line(f"accepted that steps are lost: {words}")
        return checkpoint, lost

    def _mirror(self, chunks: Any) -> Any:
        """The call that gives the learner these chunks."""
        return self._workers.learner.extend.remote(chunks, gaps=bool(self._lost_steps))

    def _finish(self) -> None:
        """Curves and the final score."""
        if not self._metrics.records:
            return
        media.save_curves(self._run.media / "curves.png", self._metrics.records, list(self.config.trainings))
        checkpoint = self._checkpoints.newest()
        assert checkpoint is not None, "a run with metrics has a commit"
        write_durably(self._run.scores_file, scores_bytes(self.config, checkpoint.state))

    def _machine(self) -> dict[str, str | int]:
        """What bit-identity depends on beyond the configuration."""
        packages = {name: version(name) for name in ("torch", "numpy", "ray")}
        threads = {"device": self._workers.device, "threads": self._workers.threads}
        return {**threads, "cpu": _cpu_model(), "python": platform.python_version(), **packages}

    def _wait(self, reference: Any, what: str) -> Any:
        return wait(reference, what, self.config.cluster.call_timeout_s)

    @contextmanager
    def _phase(self, iteration: int, name: str, total: int) -> Iterator[None]:
        self._reporter.phase(iteration, name, 0, total)
        start = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - start


def _shares(num_steps: int, num_collectors: int) -> list[int]:
    """Steps of each collector: equal, the first ones take what is left over."""
    return [num_steps // num_collectors + (index < num_steps % num_collectors) for index in range(num_collectors)]


def _collector_file(index: int) -> str:
    return f"collector-{index}.state"


def _episode_metrics(reports: list[CollectionReport]) -> Metrics:
    returns = [value for report in reports for value in report.episode_returns]
    lengths = [value for report in reports for value in report.episode_lengths]
    metrics: Metrics = {"collection/episodes": len(returns)}
    if returns:
        metrics["collection/return_mean"] = float(np.mean(returns))
        metrics["collection/length_mean"] = float(np.mean(lengths))
    return metrics


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
