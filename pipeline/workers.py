"""The processes of a run: learners, collectors, evaluators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.collector import Collector
from actors.config import EnvironmentConfig, EvaluationConfig
from actors.evaluator import Evaluator
from actors.experience_reader import ExperienceReader
from actors.store import ReplayStore
from actors.store_index import Receipt
from cluster.config import ClusterConfig
from cluster.errors import ClusterError
from cluster.process import Placement, Process, Processes
from learners.algorithm import AgentConfig
from learners.config import DatasetConfig
from learners.learner import Learner
from pipeline.config import RunConfig
from pipeline.placement import Layout, evaluator_shares, learner_groups


@dataclass(frozen=True)
class LearnerGroup:
    """Processes that train the same parts, each of them on its share of every batch."""

    parts: Sequence[str]
    ranks: Sequence[Process]

    @property
    def name(self) -> str:
        """For people, and for what is done group after group."""
        return self.lead.name

    @property
    def lead(self) -> Process:
        """The one that speaks for all: they hold the same."""
        return self.ranks[0]


@dataclass(frozen=True)
class Workers:
    """Each of them can be replaced by one that knows nothing of the run yet."""

    processes: Processes
    layout: Layout
    learners: Sequence[LearnerGroup]
    """In the order in which their parts train."""
    collectors: Sequence[Process]
    evaluators: Sequence[Process]
    config: ClusterConfig
    """For how long to wait for them."""

    @property
    def every_learner(self) -> list[Process]:
        return [rank for group in self.learners for rank in group.ranks]

    async def arrival(self, references: Any, what: str) -> Any:
        """The value of a reference, or of a list of them. Raises: LostError, or what the calls raised."""
        return await self.processes.arrival(references, what, self.config.call_timeout_s)

    async def parameter_counts(self) -> dict[str, int]:
        """Of every part, once the first learner has started. Raises: ClusterError if it cannot."""
        counts = self.learners[0].lead.call("parameter_counts")
        return await self.processes.arrival(counts, "the learner to start", self.config.start_timeout_s)

    async def publish(self) -> Any:
        """A reference to the acting weights as they are, for every collector and evaluator."""
        weights = await self.arrival(self.learners[-1].lead.call("weights"), "the learner's weights")
        # What a learner has put would be lost with it; what this process puts outlives any other.
        return self.processes.put(weights)

    async def mirror(self, iterations: Sequence[Sequence[Receipt]], learners: Sequence[Process], *, gaps: bool) -> None:
        """Lets learners take up what the receipts of some iterations vouch for; with `gaps`, steps may be missing."""
        calls = [each.call("mirror", iterations, gaps=gaps) for each in learners]
        await self.arrival(calls, "the learner to mirror new steps")

    async def join_ranks(self) -> None:
        """Lets the ranks of every group find each other, new ones and old ones. Raises: LostError."""
        timeout_s, placements = self.config.start_timeout_s, iter(self.layout.learners)
        for group in self.learners:
            size, places = len(group.ranks), [next(placements) for _ in group.ranks]
            if size == 1:
                continue
            meeting = group.lead.call("meet", self.processes.host_of(places[0]))
            address = await self.arrival(meeting, f"the {group.name} to open a meeting point")
            calls = [rank.call("join", address, index, size, timeout_s) for index, rank in enumerate(group.ranks)]
            await self.arrival(calls, f"the ranks of the {group.name} to find each other")

    def replace_lost(self) -> list[str]:
        """Replaces those that are dead or do not answer; their names.

        Raises: ClusterError if the cluster has no place for them in time.
        """
        return self._replace(self.processes.find_lost(self._every(), self.config.start_timeout_s))

    def replace_all(self) -> list[str]:
        """Replaces every one; their names."""
        return self._replace(self._every())

    def _every(self) -> list[Process]:
        return [*self.every_learner, *self.collectors, *self.evaluators]

    def _replace(self, lost: Sequence[Process]) -> list[str]:
        # Where a node died, first another one has to be found with as much to give.
        self.processes.await_reserved(self.config.start_timeout_s)
        for process in lost:
            process.replace()
        return [process.name for process in lost]


def start_workers(
    config: RunConfig,
    store: ReplayStore,
    agent: AgentConfig,
    layout: Layout,
    processes: Processes,
    *,
    dataset: DatasetConfig,
    planned_bytes: int,
) -> Workers:
    """Starts all processes on what is reserved for them, without waiting for them.

    Args:
        dataset: the run's, with what was decided about its frames.
        planned_bytes: of all experience of a learner that keeps frames.
    """
    seed, placements = config.seed, iter(layout.learners)

    def acting(index: int) -> dict[str, Any]:
        placement = layout.acting[index]
        return {"seed": seed, "device": layout.device if placement.num_gpus else "cpu", "placement": placement}

    def learners(parts: Sequence[str]) -> LearnerGroup:
        name = f"learner of the {parts[0].replace('_', ' ')}" if config.cluster.learners == "split" else "learner"
        names = [name] + [f"{name}, rank {rank}" for rank in range(1, config.cluster.data_parallel)]
        arguments, reader = (Learner, agent, dataset, config.learner), ExperienceReader(store)
        how = {"seed": seed, "device": layout.device, "experience": reader, "planned_bytes": planned_bytes}
        return LearnerGroup(
            parts, [processes.start(each, *arguments, placement=next(placements), **how) for each in names]
        )

    played, env_processes = (config.env, config.collection, agent, store), layout.env_processes
    return Workers(
        processes=processes,
        layout=layout,
        learners=[learners(parts) for parts in learner_groups(config)],
        collectors=[
            processes.start(f"collector {i}", Collector, *played, index=i, env_processes=env_processes, **acting(i))
            for i in range(config.collection.num_collectors)
        ],
        evaluators=[
            processes.start(f"evaluator {i}", Evaluator, config.env, config.evaluation, agent, **acting(i))
            for i in range(config.evaluation.num_evaluators)
        ],
        config=config.cluster,
    )


def start_evaluators(
    processes: Processes,
    device: str,
    agent: AgentConfig,
    env: EnvironmentConfig,
    evaluation: EvaluationConfig,
    count: int,
    most: int,
) -> list[Process]:
    """Evaluators alone: `count`, or as many as there are CPUs, but `most` at most. They share all GPUs there are.

    Raises: ClusterError if the cluster has too little.
    """
    nodes = processes.nodes()
    if device == "cuda" and not any(node.get("GPU") for node in nodes):
        raise ClusterError("--device cuda: found no node with a GPU, expected at least one")
    if device == "cpu":
        nodes = [{**node, "GPU": 0.0} for node in nodes]
    wanted = min(count or most, most)
    room, share = evaluator_shares(nodes, wanted)
    if not room:
        raise ClusterError("found no CPU to evaluate on, beside a GPU if there is one; expected at least one")
    if count and wanted > room:
        raise ClusterError(f"--evaluators: found {count}, expected at most {room}, for which the cluster has room")
    processes.reserve([{"CPU": 1.0, "GPU": share} if share else {"CPU": 1.0}] * room)
    how = {"seed": 0, "device": "cuda" if share else "cpu"}
    return [
        processes.start(f"evaluator {i}", Evaluator, env, evaluation, agent, placement=Placement(1, share, i), **how)
        for i in range(room)
    ]
