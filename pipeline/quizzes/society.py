"""The loop: make quizzes up if all models are good enough, train the worst ones, test them, commit.

A round is a transaction, as an iteration of a run is: committed as a whole, or it never happened. The driver holds the
culture and counts votes; models generate, judge and learn in processes of their own. What comes of a round depends on
streams named by round, model and batch, and on no answer's order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from typing import Any

import numpy as np

from cluster.errors import ClusterError
from cluster.process import Process, Processes
from learners.durable import remove_durably, write_durably
from learners.errors import RecoverableError
from learners.memory import has_run_out, run_out_in_words
from learners.quizzes.culture import Cells, Culture, Harvest
from learners.quizzes.rectangles import NoRoomError
from learners.quizzes.statistics import describe
from learners.quizzes.tasks import Grids
from learners.quizzes.training import DivergedError, make_world
from learners.quizzes.validation import FAILS
from learners.streams import Streams
from pipeline import schedule
from pipeline.commit_mark import leave_mark
from pipeline.errors import RunFailedError, UsageError
from pipeline.machine import changes_of, machine_of
from pipeline.metrics import MetricsLog, append_timings
from pipeline.progress import Reporter
from pipeline.quizzes.config import QuizzesConfig
from pipeline.quizzes.directory import PAGE, Link, SocietyDirectory, SocietyState, name_of
from pipeline.quizzes.page import page
from pipeline.quizzes.pictures import save_curves, save_sheet, save_steps
from pipeline.run_dir import METRICS_FILE
from pipeline.stop import StopSignals

THREADS = 1
"""Of each model on a CPU: small ones gain nothing from more, and large ones have a GPU."""
COMPARED = 2_000
"""Quizzes of the world that those which were made up are told from."""


class Society:
    """From its last commit to its last round."""

    def __init__(
        self,
        config: QuizzesConfig,
        directory: SocietyDirectory,
        processes: Processes,
        models: Sequence[Process],
        device: str,
        reporter: Reporter,
        stop: StopSignals,
    ) -> None:
        self._config, self._society = config, config.society
        self._directory = directory
        self._processes, self._models, self._device = processes, models, device
        self._reporter, self._stop = reporter, stop
        self._streams = Streams(config.seed)
        self._commits = directory.commits(config)
        self._committed = 0
        self._losses = 0  # since the last commit
        self._accuracies: list[float] = []
        self._links: list[Link] = []
        self._culture: list[Culture] = []

    @property
    def where_it_stands(self) -> str:
        return f"round {self._committed} is the last commit; the same command resumes there"

    def run(self) -> None:
        """Plays all rounds. Where a process is lost, it is replaced, and all go back to the last commit.

        Raises: RunFailedError if that happens too often, the disk fails, a loss is not finite or memory runs out;
            UsageError if so much is damaged that no commit can be gone back to.
        """
        schedule.run(self._run_to_the_end())

    async def _run_to_the_end(self) -> None:
        loss: RecoverableError | None = None
        while True:
            try:
                if loss:
                    self._stop.check()
                    self._recover(loss)
                else:
                    await self._introduce()
                with closing(await self._resume()) as log:
                    for round_number in range(self._committed + 1, self._config.rounds + 1):
                        await self._play(round_number, log)
                    self._show(log)
                return
            except RecoverableError as error:
                loss = error
            except (DivergedError, NoRoomError) as error:
                raise RunFailedError(f"{error}; {self.where_it_stands}") from error
            except (ClusterError, OSError) as error:
                raise RunFailedError(f"{error}; {self.where_it_stands}") from error
            except (RuntimeError, MemoryError) as error:
                if not has_run_out(error):
                    raise
                raise RunFailedError(f"{run_out_in_words(error)}; {self.where_it_stands}") from error

    async def _introduce(self) -> None:
        """Waits for the models to start, and says what they are."""
        calls = [each.call("num_parameters") for each in self._models]
        counts = await self._processes.arrival(calls, "models to start", self._config.cluster.start_timeout_s)
        self._reporter.line(f"models: {len(counts)} of {counts[0]:,} parameters, on {self._device}")

    def _recover(self, loss: RecoverableError) -> None:
        self._losses += 1
        if self._losses > self._config.cluster.max_losses:
            count = f"that was loss {self._losses} since the last commit: giving up"
            raise RunFailedError(f"{loss}; {count}; {self.where_it_stands}") from loss
        self._reporter.line(f"{loss}; going back to round {self._committed}, the last commit")
        timeout_s = self._config.cluster.start_timeout_s
        lost = self._processes.find_lost(self._models, timeout_s) if self._committed else self._models
        self._processes.await_reserved(timeout_s)
        for process in lost:
            process.replace()
        self._reporter.line(f"started again: {', '.join(each.name for each in lost) or 'nothing, all answer'}")

    async def _resume(self) -> MetricsLog:
        """Brings all to the last commit; what was made after it never happened."""

        def refusal(state: SocietyState) -> str | None:
            try:
                self._culture = self._directory.check(self._config, state)
            except ValueError as error:
                return str(error)
            return None

        checkpoint = self._commits.newest(refusal)
        self._commits.clean()
        self._committed, self._accuracies, self._links = 0, [0.0] * self._society.models, []
        if checkpoint:
            for reason in checkpoint.passed_over:
                self._reporter.line(f"passed over: {reason}")
            leave_mark(self._directory)
            self._committed = checkpoint.iteration
            self._accuracies, self._links = list(checkpoint.state.accuracies), list(checkpoint.state.culture)
            try:
                await self._arrival(
                    [each.call("load", str(checkpoint.path)) for each in self._models], "models to load their weights"
                )
            except ValueError as error:
                raise UsageError(f"{checkpoint.path}: {error}") from error
            self._reporter.line(f"resuming after round {self._committed} ({sum(map(len, self._culture))} quizzes)")
            if changes := changes_of(checkpoint.state.machine, machine_of(self._device, THREADS)):
                self._reporter.line(changes)
        else:
            self._culture = []
        remove_durably(self._directory.strays(self._links))
        metrics = checkpoint.read(METRICS_FILE) if checkpoint else b""
        return MetricsLog(self._directory.metrics_file, self._directory.tensorboard, metrics)

    async def _play(self, round_number: int, log: MetricsLog) -> None:
        started = time.perf_counter()
        metrics: dict[str, Any] = {"iteration": round_number}
        seconds: dict[str, float] = {}
        if min(self._accuracies) >= self._society.threshold:
            metrics |= await self._make_culture(round_number)
            self._accuracies = [0.0] * self._society.models
            seconds["culture"] = time.perf_counter() - started
        metrics["culture/size"] = sum(map(len, self._culture))
        before = time.perf_counter()
        metrics |= await self._train(round_number)
        seconds["train"] = time.perf_counter() - before
        metrics["accuracy/least"] = min(self._accuracies)
        await self._commit(round_number, metrics, log)
        if "culture" in seconds:
            self._show(log)
        total = time.perf_counter() - started
        append_timings(self._directory.timings_file, round_number, {"total": total, **seconds})
        accuracies = ", ".join(f"{each:.2f}" for each in self._accuracies)
        words = (
            f"round {round_number}/{self._config.rounds} | accuracy {accuracies} | {metrics['culture/size']} quizzes"
        )
        self._reporter.line(f"{words} | {total:.1f} s")

    async def _make_culture(self, round_number: int) -> dict[str, Any]:
        """Quizzes that models make up and others judge, until enough are kept."""
        society = self._society
        known = [quiz.tobytes() for culture in self._culture for quiz in culture.cells]
        harvest = Harvest(society.validation, society.models, known, self._streams, round_number)
        steps: dict[int, tuple[Cells, Grids]] = {}
        for batch in range(society.generation.most_batches):
            made = await self._arrival(
                [each.call("generate", round_number, batch) for each in self._models], "quizzes to be made up"
            )
            steps = steps or dict(enumerate(made))
            offered = harvest.offer([cells for cells, _ in made], batch)
            cells = self._processes.put(offered.cells)
            judged = await self._arrival([each.call("judge", cells) for each in self._models], "quizzes to be judged")
            harvest.take(offered, np.stack(judged, axis=1))
            wanted = society.validation.wanted
            self._reporter.phase(round_number, "culture", min(wanted, harvest.counts.validated), wanted)
            if harvest.is_full:
                break
        save_steps(self._directory.media / f"steps-{round_number:04d}.png", steps)
        return self._keep(round_number, harvest)

    def _keep(self, round_number: int, harvest: Harvest) -> dict[str, Any]:
        """Writes the file of what is kept; what became of all that was made up, and what the kept ones are like."""
        culture, counts = harvest.culture(), harvest.counts
        data = culture.to_bytes()
        write_durably(self._directory.culture / name_of(round_number), data)
        self._links.append(Link(round=round_number, count=len(culture), sha256=sha256(data).hexdigest()))
        self._culture.append(culture)
        metrics: dict[str, Any] = {
            "culture/generated": counts.generated,
            "culture/trivial": counts.trivial,
            "culture/duplicate": counts.duplicate,
            "culture/repeated rules": counts.repeated_rules,
            "culture/validated": counts.validated,
            "culture/kept": len(culture),
            **{f"culture/understood by {passes}": number for passes, number in enumerate(counts.by_passes)},
        }
        failed = (culture.votes == FAILS).sum(axis=0)
        authors = np.bincount(culture.authors, minlength=counts.models)
        for number in range(counts.models if len(culture) else 0):
            metrics[f"culture/made up by {number}"] = int(authors[number])
            metrics[f"culture/failed by {number}"] = int(failed[number])
        if len(culture):
            save_sheet(self._directory.media / f"culture-{round_number:04d}.png", culture)
            world = self._society.world
            sample, _ = make_world(world, COMPARED, self._streams.numpy("quizzes/compared", round_number))
            for name, value in describe(culture.quizzes, world.tasks, sample).items():
                metrics[f"culture/{name}"] = value
        return metrics

    def _show(self, log: MetricsLog) -> None:
        """Curves, and the page with all pictures."""
        media = self._directory.media
        save_curves(media / "curves.png", log.records)
        write_durably(media / PAGE, page(self._config, log.records, media).encode())

    async def _train(self, round_number: int) -> dict[str, Any]:
        """An epoch of the models that are worst; of equal ones the first. Their tests."""
        order = np.argsort(self._accuracies, kind="stable")[: self._society.trained_at_once]
        chosen = {int(number): self._models[number] for number in sorted(order)}
        size, held_out = self._society.world.grid.size, {}
        known = [np.zeros((0, 4, size, size), np.uint8)]
        for link, culture in zip(self._links, self._culture, strict=True):
            rule = self._society.validation
            last = len(culture) - len(culture) * rule.held_out // rule.wanted
            known.append(culture.cells[:last])
            held_out[link.round] = culture.cut(last, len(culture))
        learnt, tested = self._processes.put(np.concatenate(known)), self._processes.put(held_out)
        begun = [each.call("begin_epoch", round_number, learnt) for each in chosen.values()]
        (steps, *_) = await self._arrival(begun, "models to draw what they learn from")
        for done in range(0, steps, self._config.log_every):
            self._reporter.phase(round_number, "train", done, steps)
            calls = [each.call("train", self._config.log_every) for each in chosen.values()]
            await self._arrival(calls, "gradient steps")
        self._reporter.phase(round_number, "test", 0, 1)
        calls = [each.call("test", round_number, tested) for each in chosen.values()]
        metrics: dict[str, Any] = {}
        for number, found in zip(chosen, await self._arrival(calls, "tests"), strict=True):
            self._accuracies[number] = found["accuracy"]
            metrics |= {f"model {number}/{name}": value for name, value in found.items()}
        return metrics

    async def _commit(self, round_number: int, metrics: dict[str, Any], log: MetricsLog) -> None:
        """A stop signal waits until it is done."""
        with self._stop.deferred():
            self._directory.check_lock()
            log.append(metrics)
            directory = self._commits.prepare(round_number)
            write_durably(directory / METRICS_FILE, log.content)
            hashes = {METRICS_FILE: sha256(log.content).hexdigest()}
            saved = [each.call("save", str(directory)) for each in self._models]
            for each in await self._arrival(saved, "models to save their weights"):
                hashes |= each
            state = SocietyState(
                iteration=round_number,
                iterations=self._config.rounds,
                identity=self._config.identity_hash(),
                machine=machine_of(self._device, THREADS),
                accuracies=self._accuracies,
                culture=self._links,
            )
            self._commits.commit(directory, state, hashes)
            leave_mark(self._directory)
            self._committed, self._losses = round_number, 0

    async def _arrival(self, references: Any, what: str) -> Any:
        return await self._processes.arrival(references, what, self._config.cluster.call_timeout_s)
