"""The loop: collect, train each part, publish the weights, evaluate, commit.

The driver holds no experience and computes nothing: it wires references between processes, so that frames go from the
collectors to the store and the learners without passing through it. An iteration counts once its commit is on the disk;
whatever happens before leaves the last one standing, and `resume` goes on from there.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle

from actors.replay.damage import DamagedSegmentError
from actors.reports import EpisodeScore
from cluster.errors import ClusterError, LostError
from cluster.gauges import Gauges
from cluster.supervise import arrival
from learners.durable import make_directory, write_durably
from learners.part_trainer import BatchTooLargeError, DivergedError
from learners.ranks import RankLostError
from pipeline import media
from pipeline.checkpoint import Checkpoint, Checkpoints, State
from pipeline.commit_mark import check_commits, leave_mark
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.metrics import MetricsLog, append_timings, episode_metrics
from pipeline.progress import Reporter
from pipeline.result import finish
from pipeline.run_dir import METRICS_FILE, RunDirectory
from pipeline.schedule import Turns, play_all
from pipeline.stop import StopSignals
from pipeline.workers import LearnerGroup, Workers

READ_ITERATIONS = 10
"""Iterations read from the store at once on resume: bounds what lies in the object store."""
EARLIER_WEIGHTS_FILE = "earlier-weights.f32"
"""Of an overlapped schedule: what acted one iteration before a commit, and acts in the first one after it."""
Metrics = dict[str, Any]


@dataclass
class Play:
    """What an iteration has come to so far."""

    iteration: int
    metrics: Metrics
    inspected: Metrics = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
    chunks: list[Any] = field(default_factory=list)
    """References to what was collected."""
    collector_states: list[bytes] = field(default_factory=list)
    copies: dict[str, Any] = field(default_factory=dict)
    """References to the parts that have trained, for the groups whose turn is later."""
    evaluation: list[EpisodeScore] = field(default_factory=list)
    directory: Path | None = None
    """Of its commit, before it is one; None if it will not be."""
    saved: list[Any] = field(default_factory=list)
    """References to the hashes of what was written there."""


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
        gauges: Gauges | None = None,
    ) -> None:
        """With `accept_loss`, steps that no kept commit can do without may be lost: the run goes on without them."""
        self.config = config
        self._accept_loss = accept_loss
        self._lost_steps: dict[int, int] = {}  # accepted; by iteration
        self._stop = stop
        self._run = run
        self._workers = workers
        self._reporter = reporter
        self._gauges = gauges
        self._checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
        self._at_once = config.iterations_at_once
        self._losses = 0
        self.committed = 0
        """Last iteration that is durable."""

    def run(self) -> None:
        """Plays all iterations. Where a process is lost, it is replaced and the run goes back to the last commit.

        Raises: RunFailedError if that happens too often between two commits, the cluster has no place for what was
            lost, or the disk fails; UsageError if so much is damaged that no commit can be gone back to.
        """
        asyncio.run(self._run_to_the_end())

    async def _run_to_the_end(self) -> None:
        loss: LostError | DamagedSegmentError | RankLostError | None = None
        while True:
            try:
                if loss:
                    self._stop.check()
                    await self._recover(loss)
                await self._resume()
                with closing(self._metrics):
                    iterations = range(self.committed + 1, self.config.iterations + 1)
                    await play_all(self._play, iterations, self._at_once)
                return self._finish()
            except (LostError, DamagedSegmentError, RankLostError) as error:
                loss = error
            except (ClusterError, OSError) as error:
                raise RunFailedError(f"{error}; {self._words_on_resuming()}") from error

    async def _play(self, iteration: int) -> None:
        play = Play(iteration, {"iteration": iteration, "steps": self.config.planned_steps(iteration)})
        self._in_flight[iteration] = play
        async with self._turns.of("collect", iteration):
            await self._collect(play)
        for group in self._workers.learners:
            async with self._turns.of(group.name, iteration):
                await self._learn(play, group)
        await self._evaluate(play)
        async with self._turns.of("commit", iteration):
            await self._commit(play)
        del self._in_flight[iteration]

    async def _collect(self, play: Play) -> None:
        """Every collector takes its share of the steps, and the store makes them durable."""
        play.collector_states = self._collector_states
        if not (num_steps := self.config.steps_in(play.iteration)):
            return
        version = self._version_for(play.iteration)
        with self._phase(play, "collect", num_steps):
            shares = _shares(num_steps, len(self._workers.collectors))
            calls = [
                collector.collect.options(num_returns=3).remote(play.iteration, share, self._weights[version], version)
                for collector, share in zip(self._workers.collectors, shares, strict=True)
            ]
            chunks, reports, states = map(list, zip(*calls, strict=True))
            # The store takes its calls in their order: one that waited for steps would keep a commit waiting, too.
            self._collector_states = await self._arrival(states, "steps to be collected")
            stored = [self._workers.store.append.remote(each) for each in chunks]
            await self._arrival(stored, "collected steps to be stored")
            play.chunks, play.collector_states = chunks, self._collector_states
            play.metrics |= episode_metrics(await self._arrival(reports, "the collectors' reports"))
        play.metrics["collection/staleness"] = play.iteration - 1 - version

    async def _learn(self, play: Play, group: LearnerGroup) -> None:
        """A group mirrors the new steps, takes over what was trained before it, trains its parts and saves them.

        The last one has all parts at last: it inspects them, and it publishes.
        """
        last = group is self._workers.learners[-1]
        with self._phase(play, "mirror", 1):
            await self._mirror(play.chunks, group.actors)
        if last:
            await self._inspect(play, group)
        adopted = [each.adopt.remote(part, copy) for part, copy in play.copies.items() for each in group.actors]
        await self._arrival(adopted, "parts to be taken over")
        for part in group.parts:
            if self._may_train(part, play):
                await self._train(part, play, group)
                if not last:
                    play.copies[part] = group.lead.copy_of.remote(part)
        if last:
            await self._publish(play.iteration)
        if play.iteration == self.config.iterations or play.iteration % self.config.checkpoint.every == 0:
            play.directory = play.directory or self._checkpoints.prepare(play.iteration)
            play.saved.append(group.lead.save.remote(str(play.directory), list(group.parts)))

    async def _inspect(self, play: Play, group: LearnerGroup) -> None:
        """Where the schedule says so: every part as it is, on the steps just collected, which none has trained on."""
        iteration = play.iteration
        if iteration % self.config.inspect_every and iteration != self.config.iterations:
            return
        with self._phase(play, "inspect", 1):
            inspection = await self._arrival(group.lead.inspect.remote(iteration), "the parts to be inspected")
            media.save_inspection(self._run.media, iteration, inspection)
        play.inspected = inspection.metrics

    def _may_train(self, part: str, play: Play) -> bool:
        before = [each.metrics for iteration, each in self._in_flight.items() if iteration < play.iteration]
        return self.config.may_train(part, play.iteration, [*self._metrics.records, *before], play.metrics)

    async def _train(self, part: str, play: Play, group: LearnerGroup) -> None:
        """All gradient steps of a part, in slices, so that no wait is long; the mean of its metrics."""
        training = self.config.trainings[part]
        total, totals = training.steps_per_iteration, {}
        with self._phase(play, part.replace("_", " "), total):
            for first in range(0, total, self.config.log_every):
                steps = range(first, min(first + self.config.log_every, total))
                calls = [rank.train.remote(part, play.iteration, steps) for rank in group.actors]
                try:
                    means = (await self._arrival(calls, f"gradient steps of {part}"))[0]
                except BatchTooLargeError as error:
                    flag = f"--{self.config.setting_of(part)}.batch-size".replace("_", "-")
                    raise UsageError(f"{flag}: {error}") from error
                except DivergedError as error:
                    raise RunFailedError(f"{error}; {await self._save_failure(play, error)}") from error
                for name, mean in means.items():
                    totals[name] = totals.get(name, 0.0) + mean * len(steps)
                self._reporter.phase(play.iteration, part.replace("_", " "), steps.stop, total)
        play.metrics |= {f"{part}/{name}": value / total for name, value in totals.items()}

    async def _publish(self, iteration: int) -> None:
        """Puts the acting weights into the object store, once, for every collector and evaluator."""
        weights = await self._arrival(self._workers.learners[-1].lead.weights.remote(), "the learner's weights")
        # An object put by the learner would die with it; the driver's outlives any worker.
        self._weights[iteration] = ray.put(weights)
        self._weights.pop(iteration - self._at_once - 1, None)

    def _version_for(self, iteration: int) -> int:
        """Of the weights that collect an iteration: those of the newest one that had ended when it began."""
        return max(0, iteration - self._at_once)

    async def _evaluate(self, play: Play) -> None:
        """Plays whole episodes where the schedule says so; the last evaluation is the longest."""
        iteration, evaluation, last = play.iteration, self.config.evaluation, play.iteration == self.config.iterations
        if not last and iteration % evaluation.every:
            return
        episodes, size = evaluation.final_episodes if last else evaluation.episodes, evaluation.envs_per_evaluator
        with self._phase(play, "evaluate", episodes):
            calls = []
            for batch, first in enumerate(range(0, episodes, size)):
                evaluator = self._workers.evaluators[batch % len(self._workers.evaluators)]
                count = min(size, episodes - first)
                arguments = (iteration, batch, count, self._weights[iteration])
                calls.append(evaluator.play.options(num_returns=2).remote(*arguments, record=batch == 0))
            for results, _ in calls:
                play.evaluation += await self._arrival(results, "evaluation episodes")
                self._reporter.phase(iteration, "evaluate", len(play.evaluation), episodes)
            media.save_episode(self._run.media, iteration, await self._arrival(calls[0][1], "a recorded episode"))
        scores = np.array([episode.score for episode in play.evaluation])
        play.metrics |= {
            "evaluation/episodes": len(scores),
            "evaluation/score_mean": float(scores.mean()),
            "evaluation/score_std": float(scores.std()),
            "evaluation/length_mean": float(np.mean([episode.length for episode in play.evaluation])),
        }

    async def _commit(self, play: Play) -> None:
        """Makes the iteration durable as a whole. A stop signal waits until it is."""
        head = {name: play.metrics.pop(name) for name in ("iteration", "steps")}
        metrics = head | play.inspected | play.metrics
        with self._stop.deferred():
            self._run.check_lock()
            self._metrics.append(metrics)
            if play.directory:
                with self._phase(play, "commit", 1):
                    await self._write_checkpoint(play, play.directory)
            now = time.perf_counter()
            total, self._last_end = now - self._last_end, now
            append_timings(self._run.timings_file, play.iteration, {"total": total, **play.seconds})
        sealed = self._workers.store.seal.remote(min(self._checkpoints.iterations(), default=0))
        await self._arrival(sealed, "small files to be joined")
        if self._gauges:
            self._gauges.committed(metrics, total, play.seconds)
        self._reporter.line(_summary(self.config.iterations, metrics, total))

    async def _write_checkpoint(self, play: Play, directory: Path) -> None:
        files = {_collector_file(index): state for index, state in enumerate(play.collector_states)}
        files[METRICS_FILE] = self._metrics.content
        if self._at_once > 1:
            weights = self._weights[self._version_for(play.iteration + 1)]
            files[EARLIER_WEIGHTS_FILE] = (await self._arrival(weights, "earlier weights")).tobytes()
        hashes = {}
        for name, content in files.items():
            write_durably(directory / name, content)
            hashes[name] = sha256(content).hexdigest()
        for saved in await self._arrival(play.saved, "the learner to save its state"):
            hashes |= saved
        state = State(
            iteration=play.iteration,
            iterations=self.config.iterations,
            steps=self.config.planned_steps(play.iteration),
            lost=self._lost_steps,
            identity=self.config.identity_hash(),
            evaluation=[(episode.score, episode.length) for episode in play.evaluation],
            machine=self._machine(),
        )
        self._checkpoints.commit(directory, state, hashes)
        leave_mark(self._run)
        self.committed, self._losses = play.iteration, 0

    async def _save_failure(self, play: Play, error: Exception) -> str:
        """Keeps the state of learners that cannot go on; where it is, in words."""
        directory = self._run.failures / f"{play.iteration:04d}"
        make_directory(directory)
        saved = [group.lead.save.remote(str(directory), list(group.parts)) for group in self._workers.learners]
        await self._arrival(saved, "the learner to save its state")
        write_durably(directory / "reason.txt", f"{error}\n".encode())
        return f"the weights before that step are in {directory}, iteration {self.committed} is the last commit"

    def _words_on_resuming(self) -> str:
        return f"iteration {self.committed} is the last commit; the same command resumes there"

    async def _recover(self, loss: LostError | DamagedSegmentError | RankLostError) -> None:
        """Replaces processes or puts files into quarantine, so that the run can `_resume`."""
        self._losses += 1
        if self._gauges:
            self._gauges.lost()
        if self._losses > self.config.cluster.max_losses:
            count = f"that was loss {self._losses} since the last commit: giving up"
            raise RunFailedError(f"{loss}; {count}; {self._words_on_resuming()}") from loss
        self._reporter.line(f"{loss}; going back to iteration {self.committed}, the last commit")
        if isinstance(loss, DamagedSegmentError):
            for damage in await self._arrival(self._workers.store.repair.remote(), "the replay store to be repaired"):
                self._reporter.line(f"put into quarantine: {damage}")
            return
        # Without a commit there is nothing that those who have learnt or played already could go back to.
        replaced = self._workers.replace_lost() if self.committed else self._workers.replace_all()
        self._reporter.line(f"started again: {', '.join(replaced) or 'nothing, all answer'}")

    async def _resume(self) -> None:
        """Brings every process to the last commit; what was stored after it never happened.

        Raises: UsageError, in one line, if so much is damaged that no commit can be gone back to.
        """
        checkpoint = await self._reload_experience()
        for reason in checkpoint.passed_over if checkpoint else ():
            self._reporter.line(f"passed over: {reason}")
        self._collector_states: list[bytes] = []
        self._weights: dict[int, Any] = {}  # references to the acting ones, by iteration
        if checkpoint:
            leave_mark(self._run)
            await self._restore(checkpoint)
            self._reporter.line(f"resuming after iteration {self.committed} ({checkpoint.state.steps} steps)")
            before, now = checkpoint.state.machine, self._machine()
            if changed := [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]:
                words = f"not bit-identical to an uninterrupted run from here on: {', '.join(changed)}"
                self._reporter.line(words)
        await self._publish(self.committed)
        for group, host in self._workers.meeting_hosts():
            await self._join(group, host)
        metrics = checkpoint.read(METRICS_FILE) if checkpoint else b""
        self._metrics = MetricsLog(self._run.metrics_file, self._run.tensorboard, metrics)
        self._in_flight: dict[int, Play] = {}
        self._turns = Turns(self.committed + 1)
        self._last_end = time.perf_counter()

    async def _join(self, group: LearnerGroup, host: str) -> None:
        """Lets the ranks of a group find each other, new ones and old ones."""
        address = await self._arrival(group.lead.meet.remote(host), f"the {group.name} to open a meeting point")
        size, timeout_s = len(group.ranks), self.config.cluster.start_timeout_s
        joined = [rank.join.remote(address, index, size, timeout_s) for index, rank in enumerate(group.actors)]
        await self._arrival(joined, f"the ranks of the {group.name} to find each other")

    async def _restore(self, checkpoint: Checkpoint) -> None:
        """Raises: UsageError if its files are not of this run's processes, although their checksums hold."""
        try:
            loaded = [each.load.remote(str(checkpoint.path)) for each in self._workers.every_learner]
            await self._arrival(loaded, "the learner to load its state")
            self._collector_states = [checkpoint.read(_collector_file(i)) for i in range(len(self._workers.collectors))]
            pairs = zip(self._workers.collectors, self._collector_states, strict=True)
            restored = [collector.set_state.remote(state) for collector, state in pairs]
            await self._arrival(restored, "the collectors' states")
            if self._at_once > 1:
                weights = np.frombuffer(checkpoint.read(EARLIER_WEIGHTS_FILE), dtype=np.float32)
                self._weights[self._version_for(checkpoint.iteration + 1)] = ray.put(weights)
        except ValueError as error:
            raise UsageError(f"{checkpoint.path}: {error}") from error

    async def _reload_experience(self) -> Checkpoint | None:
        """The newest checkpoint whose steps are all stored; later ones are dropped, the learners mirror the rest."""
        stored = await self._arrival(self._workers.store.steps.remote(), "the replay store to open")
        checkpoint, lost = self._choose_checkpoint(stored)
        self.committed = checkpoint.iteration if checkpoint else 0
        # What is lost from the store goes from the mirror, too, as it would in a resume.
        kept = self.committed if lost == self._lost_steps else 0
        self._lost_steps = lost
        self._checkpoints.clean()
        await self._arrival(self._workers.store.truncate.remote(self.committed), "the replay store to go back")
        learners = self._workers.every_learner
        backs = await self._arrival([each.truncate.remote(kept) for each in learners], "the learner to go back")
        for mirrored in sorted(set(backs)):
            behind = [each for each, back in zip(learners, backs, strict=True) if back == mirrored]
            for first in range(mirrored + 1, self.committed + 1, READ_ITERATIONS):
                self._reporter.phase(self.committed, "resume", first - 1, self.committed)
                chunks = self._workers.store.read.remote(first, min(first + READ_ITERATIONS - 1, self.committed))
                await self._mirror([chunks], behind)
        return checkpoint

    def _choose_checkpoint(self, stored: Mapping[int, int]) -> tuple[Checkpoint | None, dict[int, int]]:
        """What to go back to, and how many steps of which iterations are to be done without.

        Raises: UsageError if no checkpoint is intact, all are gone, or each counts on steps that are lost and that is
            not accepted.
        """
        check_commits(self._run.path, self.config)

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

    async def _mirror(self, chunks: Sequence[Any], learners: Sequence[ActorHandle]) -> None:
        """Gives learners what the references `chunks` are to."""
        calls = [each.extend.remote(some, gaps=bool(self._lost_steps)) for some in chunks for each in learners]
        await self._arrival(calls, "the learner to mirror new steps")

    def _finish(self) -> None:
        """Curves and the final score."""
        if checkpoint := self._checkpoints.newest():
            finish(self._run, self.config, checkpoint)

    def _machine(self) -> dict[str, str | int]:
        """What bit-identity depends on beyond the configuration."""
        packages = {name: version(name) for name in ("torch", "numpy", "ray")}
        ranks = len(self._workers.learners[0].ranks)
        threads = {"device": self._workers.device, "threads": self._workers.threads, "ranks": ranks}
        return {**threads, "cpu": _cpu_model(), "python": platform.python_version(), **packages}

    async def _arrival(self, reference: Any, what: str) -> Any:
        return await arrival(reference, what, self.config.cluster.call_timeout_s)

    @contextmanager
    def _phase(self, play: Play, name: str, total: int) -> Iterator[None]:
        self._reporter.phase(play.iteration, name, 0, total)
        start = time.perf_counter()
        yield
        play.seconds[name] = play.seconds.get(name, 0.0) + time.perf_counter() - start


def _shares(num_steps: int, num_collectors: int) -> list[int]:
    """Steps of each collector: equal, the first ones take what is left over."""
    return [num_steps // num_collectors + (index < num_steps % num_collectors) for index in range(num_collectors)]


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
