"""The loop: collect, train each part, publish the weights, evaluate, commit.

The driver holds no experience and computes nothing: collectors write their steps, and the driver hands the receipts on
to the learners, who read them. How an iteration becomes durable, and what is done
where something is lost, is in `transaction.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from cluster.errors import ClusterError
from learners.errors import RecoverableError
from learners.memory import BatchTooLargeError, ExperienceTooLargeError, has_run_out, run_out_in_words
from learners.part_trainer import DivergedError
from pipeline import media, schedule
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.iteration import Play
from pipeline.metrics import episode_metrics
from pipeline.placement import shares
from pipeline.progress import Reporter
from pipeline.run_dir import RunDirectory
from pipeline.schedule import Turns, play_all
from pipeline.stop import StopSignals
from pipeline.transaction import Gauges, Start, Transaction
from pipeline.workers import LearnerGroup, Workers


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
        self._config = config
        self._run = run
        self._workers = workers
        self._reporter = reporter
        self._stop = stop
        self._transaction = Transaction(config, run, workers, reporter, stop, accept_loss=accept_loss, gauges=gauges)

    def run(self) -> None:
        """Plays all iterations. Where a process is lost, it is replaced and the run goes back to the last commit.

        Raises: RunFailedError if that happens too often between two commits, the cluster has no place for what was
            lost, the disk fails, or memory runs out; UsageError if so much is damaged that no commit can be gone back
            to, or a device is too small.
        """
        schedule.run(self._run_to_the_end())

    async def _run_to_the_end(self) -> None:
        await self._introduce()
        loss: RecoverableError | None = None
        while True:
            try:
                if loss:
                    self._stop.check()
                    await self._transaction.recover(loss)
                start = await self._transaction.resume()
                with closing(start.metrics):
                    attempt = Attempt(self._config, self._run, self._workers, self._reporter, self._transaction, start)
                    iterations = range(start.committed + 1, self._config.iterations + 1)
                    await play_all(attempt.play, iterations, self._config.iterations_at_once)
                return self._transaction.finish()
            except RecoverableError as error:
                loss = error
            except ExperienceTooLargeError as error:
                raise UsageError(
                    f"--collection.steps-per-iteration, --iterations or --dataset.frames: {error}"
                ) from error
            except (ClusterError, OSError) as error:
                raise RunFailedError(f"{error}; {self._transaction.where_it_stands}") from error
            except (RuntimeError, MemoryError) as error:
                if not has_run_out(error):
                    raise
                raise RunFailedError(f"{run_out_in_words(error)}; {self._transaction.where_it_stands}") from error

    async def _introduce(self) -> None:
        """Waits for the first learner, replaced if it is lost while it starts, and says what it holds."""
        while True:
            try:
                return await self._introduce_once()
            except RecoverableError as error:
                self._stop.check()
                await self._transaction.recover(error)

    async def _introduce_once(self) -> None:
        counts, layout = await self._workers.parameter_counts(), self._workers.layout
        words = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
        self._reporter.line(f"learner on {layout.device} with {layout.threads} threads; parameters: {words}")
        residence = await self._workers.arrival(self._workers.learners[0].lead.call("residence"), "the learner")
        self._reporter.line(f"frames are {residence}")


class Attempt:
    """The iterations after a commit, until all are played or something is lost."""

    def __init__(
        self,
        config: RunConfig,
        run: RunDirectory,
        workers: Workers,
        reporter: Reporter,
        transaction: Transaction,
        start: Start,
    ) -> None:
        self._config = config
        self._media, self._store = run.media, run.store(config)
        self._workers = workers
        self._reporter = reporter
        self._transaction = transaction
        self._metrics = start.metrics
        self._weights = start.weights
        self._collector_states = start.collector_states
        self._turns = Turns(start.committed + 1)
        self._in_flight: dict[int, Play] = {}

    async def play(self, iteration: int) -> None:
        """One iteration. In an overlapped schedule there are two at once; each waits for its turn in every stage."""
        play = Play(iteration, {"iteration": iteration, "steps": self._config.planned_steps(iteration)})
        self._in_flight[iteration] = play
        async with self._turns.of("collect", iteration):
            await self._collect(play)
        for group in self._workers.learners:
            async with self._turns.of(group.name, iteration):
                await self._learn(play, group)
        await self._evaluate(play)
        async with self._turns.of("commit", iteration):
            await self._transaction.commit(play, self._metrics, self._weights)
        del self._in_flight[iteration]

    async def _collect(self, play: Play) -> None:
        """Every collector takes its share of the steps and makes them durable."""
        play.collector_states = self._collector_states
        if not (num_steps := self._config.collection.steps_in(play.iteration)):
            return
        version, workers = self._config.version_for(play.iteration), self._workers
        with self._phase(play, "collect", num_steps):
            self._store.make_directory(play.iteration)
            calls = [
                collector.call("collect", play.iteration, share, self._weights[version], version)
                for collector, share in zip(workers.collectors, shares(num_steps, len(workers.collectors)), strict=True)
            ]
            collected = await workers.arrival(calls, "steps to be collected")
            receipts, reports, states = map(list, zip(*collected, strict=True))
            play.receipts = [receipt for each in receipts for receipt in each]
            play.collector_states = self._collector_states = states
            play.metrics |= episode_metrics(reports)
        play.metrics["collection/staleness"] = play.iteration - 1 - version

    async def _learn(self, play: Play, group: LearnerGroup) -> None:
        """A group mirrors the new steps, takes over what was trained before it, trains its parts and saves them.

        The last one has all parts at last: it inspects them, and it publishes.
        """
        workers, last = self._workers, group is self._workers.learners[-1]
        with self._phase(play, "mirror", 1):
            await workers.mirror([play.receipts], group.ranks, gaps=self._transaction.has_gaps)
        if last:
            await self._inspect(play, group)
        adopted = [each.call("adopt", part, copy) for part, copy in play.copies.items() for each in group.ranks]
        await workers.arrival(adopted, "parts to be taken over")
        for part in group.parts:
            if steps := self._gradient_steps(part, play):
                await self._train(part, steps, play, group)
                if not last:
                    play.copies[part] = group.lead.call("copy_of", part)
        if last:
            self._weights[play.iteration] = await workers.publish()
            self._weights.pop(play.iteration - self._config.iterations_at_once - 1, None)
        if self._config.is_committed(play.iteration):
            play.directory = play.directory or self._transaction.prepare(play.iteration)
            play.saved.append(group.lead.call("save", str(play.directory), list(group.parts)))

    async def _inspect(self, play: Play, group: LearnerGroup) -> None:
        """Where the schedule says so: every part as it is, on the steps just collected, which none has trained on."""
        iteration = play.iteration
        if iteration % self._config.inspect_every and iteration != self._config.iterations:
            return
        with self._phase(play, "inspect", 1):
            inspection = await self._workers.arrival(group.lead.call("inspect", iteration), "the parts to be inspected")
            media.save_inspection(self._media, iteration, inspection)
        for remark in inspection.remarks:
            self._reporter.line(f"iteration {iteration}: {remark}")
        play.inspected = inspection.metrics

    def _gradient_steps(self, part: str, play: Play) -> int:
        before = [each.metrics for iteration, each in self._in_flight.items() if iteration < play.iteration]
        return self._config.gradient_steps(part, play.iteration, [*self._metrics.records, *before], play.metrics)

    async def _train(self, part: str, total: int, play: Play, group: LearnerGroup) -> None:
        """All gradient steps of a part, in slices, so that no wait is long; the mean of its metrics."""
        totals: dict[str, float] = {}
        with self._phase(play, part.replace("_", " "), total):
            for first in range(0, total, self._config.log_every):
                steps = range(first, min(first + self._config.log_every, total))
                calls = [rank.call("train", part, play.iteration, steps) for rank in group.ranks]
                try:
                    means = (await self._workers.arrival(calls, f"gradient steps of {part}"))[0]
                except BatchTooLargeError as error:
                    flag = f"--{self._config.setting_of(part)}.batch-size".replace("_", "-")
                    raise UsageError(f"{flag}: {error}") from error
                except DivergedError as error:
                    raise RunFailedError(f"{error}; {await self._transaction.save_failure(play, error)}") from error
                for name, mean in means.items():
                    totals[name] = totals.get(name, 0.0) + mean * len(steps)
                self._reporter.phase(play.iteration, part.replace("_", " "), steps.stop, total)
        play.metrics |= {f"{part}/{name}": value / total for name, value in totals.items()}

    async def _evaluate(self, play: Play) -> None:
        """Plays whole episodes where the schedule says so; the last evaluation is the longest."""
        iteration, evaluation, last = play.iteration, self._config.evaluation, play.iteration == self._config.iterations
        if not last and iteration % evaluation.every:
            return
        episodes, size = evaluation.final_episodes if last else evaluation.episodes, evaluation.envs_per_evaluator
        workers = self._workers
        with self._phase(play, "evaluate", episodes):
            calls = []
            for batch, first in enumerate(range(0, episodes, size)):
                evaluator = workers.evaluators[batch % len(workers.evaluators)]
                arguments = (iteration, batch, min(size, episodes - first), self._weights[iteration])
                calls.append(evaluator.call("play", *arguments, record=batch == 0, num_returns=2))
            for results, _ in calls:
                play.evaluation += await workers.arrival(results, "evaluation episodes")
                self._reporter.phase(iteration, "evaluate", len(play.evaluation), episodes)
            media.save_episode(self._media, iteration, await workers.arrival(calls[0][1], "a recorded episode"))
        scores = np.array([episode.score for episode in play.evaluation])
        play.metrics |= {
            "evaluation/episodes": len(scores),
            "evaluation/score_mean": float(scores.mean()),
            "evaluation/score_std": float(scores.std()),
            "evaluation/length_mean": float(np.mean([episode.length for episode in play.evaluation])),
        }

    @contextmanager
    def _phase(self, play: Play, name: str, total: int) -> Iterator[None]:
        self._reporter.phase(play.iteration, name, 0, total)
        with play.timed(name):
            yield
