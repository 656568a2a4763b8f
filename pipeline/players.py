"""Who plays whole episodes for a score: evaluators, and what they are given to play."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.config import EnvironmentConfig, EvaluationConfig
from cluster.config import ClusterConfig
from cluster.errors import LostError
from cluster.process import Process, Processes
from pipeline import schedule
from pipeline.errors import RunFailedError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from learners.algorithm import AgentConfig
    from pipeline.evaluation import Episode
    from pipeline.progress import Reporter


MAX_EPISODES = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What is to be played."""

    env: EnvironmentConfig
    evaluation: EvaluationConfig
    seeds: Sequence[int]
    episodes: int
    """Of each seed."""

    def __post_init__(self) -> None:
        """Raises UsageError for more episodes than anybody can wait for."""
        if self.episodes > MAX_EPISODES:
            raise UsageError(f"--episodes: found {self.episodes} of each seed, expected at most {MAX_EPISODES}")

    @property
    def batches(self) -> list[tuple[int, int, int]]:
        """Seed, index and number of episodes of what is played side by side."""
        size = self.evaluation.envs_per_evaluator
        firsts = range(0, self.episodes, size)
        return [(seed, first // size, min(size, self.episodes - first)) for seed in self.seeds for first in firsts]


@dataclass(frozen=True)
class Players:
    """Evaluators of one agent, any of which may be lost."""

    processes: Processes
    evaluators: Sequence[Process]
    cluster: ClusterConfig
    iteration: int
    """After which the weights are."""
    reporter: Reporter

    def play(self, plan: Plan, weights: Sequence[NDArray[np.uint8]]) -> list[list[Episode]]:
        """The episodes of the plan with each of the weights, in its order, whoever plays which.

        Raises: RunFailedError if more evaluators are lost than may be; ClusterError.
        """
        from pipeline.evaluation import Episode

        batches = [(each, *batch) for each in range(len(weights)) for batch in plan.batches]
        waiting, total, losses = deque(batches), plan.episodes * len(plan.seeds) * len(weights), 0
        played: dict[tuple[int, ...], list[Episode]] = {}

        async def work(evaluator: Process, references: Sequence[Any]) -> None:
            nonlocal losses
            while waiting:
                which, seed, index, count = batch = waiting.popleft()
                arguments = self.iteration, index, count, references[which]
                call = evaluator.call("play", *arguments, seed=seed, num_returns=2)
                try:
                    scores = await self.processes.arrival(call[0], "evaluation episodes", self.cluster.call_timeout_s)
                    played[batch] = [
                        Episode(seed=seed, index=each.episode, score=each.score, length=each.length) for each in scores
                    ]
                except LostError as error:
                    waiting.appendleft(batch)
                    if (losses := losses + 1) > self.cluster.max_losses:
                        raise RunFailedError(f"{error}; that was loss {losses}: giving up") from error
                    self.reporter.line(f"{error}; starting the {evaluator.name} again")
                    evaluator.replace()
                self.reporter.phase(self.iteration, "evaluate", sum(map(len, played.values())), total)

        async def work_all() -> None:
            references = [self.processes.put(each) for each in weights]
            await asyncio.gather(*(work(evaluator, references) for evaluator in self.evaluators))

        schedule.run(work_all())
        return [
            [episode for batch in batches if batch[0] == which for episode in played[batch]]
            for which in range(len(weights))
        ]


@contextmanager
def open_players(
    agent: AgentConfig,
    plan: Plan,
    cluster: ClusterConfig,
    *,
    iteration: int,
    most: int,
    evaluators: int,
    device: str,
    in_process: bool,
) -> Iterator[Players]:
    """Evaluators of an agent, for plans of one environment and evaluation, while the context lasts.

    Args:
        iteration: after which its weights are.
        most: processes that could have something to do.
        evaluators: processes; 0: as many as there are CPUs.

    Raises: ClusterError, in one line.
    """
    from cluster.open import open_processes
    from pipeline.progress import Reporter
    from pipeline.workers import start_evaluators

    with closing(Reporter(iteration)) as reporter, open_processes(cluster, in_process=in_process) as processes:
        started = start_evaluators(processes, device, agent, plan.env, plan.evaluation, evaluators, most)
        yield Players(processes, started, cluster, iteration, reporter)
