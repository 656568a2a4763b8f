"""The processes of a run: replay store, learner, collectors, evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, floor
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.collector import Collector
from actors.config import EnvironmentConfig, EvaluationConfig
from actors.evaluator import Evaluator
from actors.replay.service import ReplayService
from cluster.config import ClusterConfig
from cluster.errors import ClusterError
from cluster.spawn import Placement, await_reserved, host_of, largest_node, reserve, spawn
from cluster.supervise import Worker, find_lost
from learners.agent import AgentConfig
from learners.learner import Learner
from pipeline.config import RunConfig
from pipeline.run_dir import RunDirectory, run_name

GPU_LEARNER_THREADS = 4
LEARNER_SHARE = 0.5
"""Of a GPU; collectors and evaluators divide the rest."""
GPU_UNIT = 1e-4
"""What Ray counts GPUs in: it rounds, so that shares of 1/6 would not fit into their sum."""


@dataclass(frozen=True)
class Needs:
    """What a run takes of a cluster."""

    bundles: Sequence[Mapping[str, float]]
    """Of "CPU" and "GPU", each on one node: that of the first learner and of all that works beside it, those of the
    other learners, then those of who acts elsewhere."""
    threads: int
    """Of each learner."""
    num_gpus: float
    """Of each learner and who works beside it."""


@dataclass(frozen=True)
class Reservation:
    """What the cluster has set aside for a run."""

    store: Placement
    acting: Sequence[Placement]
    """Of collectors and evaluators: the first of each, the second of each, …; they take turns."""
    learners: Sequence[Placement]
    """Of every rank of the first group, of the second, …"""

    @property
    def device(self) -> str:
        return "cuda" if self.learners[0].num_gpus else "cpu"


@dataclass(frozen=True)
class LearnerGroup:
    """Processes that train the same parts, each of them on its share of every batch."""

    parts: Sequence[str]
    ranks: Sequence[Worker]

    @property
    def name(self) -> str:
        """For people, and for what is done group after group."""
        return self.ranks[0].name

    @property
    def actors(self) -> list[ActorHandle]:
        return [rank.actor for rank in self.ranks]

    @property
    def lead(self) -> ActorHandle:
        """The one that speaks for all: they hold the same."""
        return self.ranks[0].actor


class Workers:
    """Each of them can be replaced by one that knows nothing of the run yet."""

    def __init__(
        self,
        *,
        store: Worker,
        learners: Sequence[LearnerGroup],
        collectors: Sequence[Worker],
        evaluators: Sequence[Worker],
        reservation: Reservation,
        start_timeout_s: float,
    ) -> None:
        self._store = store
        self.learners = learners
        """In the order in which their parts train."""
        self._collectors = collectors
        self._evaluators = evaluators
        self._reservation = reservation
        self._start_timeout_s = start_timeout_s

    @property
    def store(self) -> ActorHandle:
        return self._store.actor

    @property
    def collectors(self) -> list[ActorHandle]:
        return [worker.actor for worker in self._collectors]

    @property
    def evaluators(self) -> list[ActorHandle]:
        return [worker.actor for worker in self._evaluators]

    @property
    def device(self) -> str:
        """Of the learners."""
        return self._reservation.device

    @property
    def threads(self) -> int:
        """Of each learner."""
        return self._reservation.learners[0].threads

    @property
    def every_learner(self) -> list[ActorHandle]:
        return [actor for group in self.learners for actor in group.actors]

    def meeting_hosts(self) -> list[tuple[LearnerGroup, str]]:
        """Every group of several ranks, and the address of the machine of the first. Raises: LostError."""
        placements = iter(self._reservation.learners)
        of_groups = [(group, [next(placements) for _ in group.ranks]) for group in self.learners]
        return [(group, host_of(places[0])) for group, places in of_groups if len(places) > 1]

    def replace_lost(self) -> list[str]:
        """Replaces those that are dead or do not answer; their names.

        Raises: ClusterError if the cluster has no place for them in time.
        """
        return self._replace(find_lost(self._every(), self._start_timeout_s))

    def replace_all(self) -> list[str]:
        """Replaces every one; their names."""
        return self._replace(self._every())

    def _every(self) -> list[Worker]:
        ranks = [rank for group in self.learners for rank in group.ranks]
        return [self._store, *ranks, *self._collectors, *self._evaluators]

    def _replace(self, workers: Sequence[Worker]) -> list[str]:
        # Where a node died, Ray first has to find another one with as much to give.
        await_reserved(self._reservation.store.group, self._start_timeout_s)
        for worker in workers:
            worker.replace()
        return [worker.name for worker in workers]


def reserve_resources(config: RunConfig) -> Reservation:
    """Collectors and evaluators compute with one thread each; beside the first learner on its GPU, if it has one: half
    of it is counted as the learner's, half as theirs (Ray keeps the accounts; what they really use is small).

    Raises: ClusterError if the cluster has too little.
    """
    needs = needs_of(config, {name: largest_node(name) for name in ("CPU", "GPU")})
    num_learners, name_and_value = _num_learners(config), config.cluster.acting_on.partition("=")
    acting_on = {name_and_value[0]: name_and_value[2]} if config.cluster.acting_on else {}
    labels = [{}] * num_learners + [acting_on] * (len(needs.bundles) - num_learners)
    group = reserve(config.cluster, needs.bundles, labels)
    learners = [Placement(group, needs.threads, needs.num_gpus, bundle) for bundle in range(num_learners)]
    if config.cluster.acting == "spread":
        acting = [Placement(group, threads=1, bundle=index) for index in range(num_learners, len(needs.bundles))]
    else:
        num_acting = config.collection.num_collectors + config.evaluation.num_evaluators
        share = floor((1.0 - LEARNER_SHARE) * needs.num_gpus / num_acting / GPU_UNIT) * GPU_UNIT
        acting = [Placement(group, threads=1, num_gpus=share)] * _pairs(config)
        learners[0] = replace(learners[0], num_gpus=LEARNER_SHARE * needs.num_gpus)
    return Reservation(store=Placement(group, threads=1), acting=acting, learners=learners)


def needs_of(config: RunConfig, largest: Mapping[str, float]) -> Needs:
    """What a run takes of a cluster, the largest of whose nodes has so many "CPU" and "GPU".

    In a synchronous schedule collecting, learning and evaluating take turns, so beside each other they share what the
    largest of them needs. In an overlapped one collectors have CPUs of their own; evaluators go on sharing them.

    Raises: ClusterError if it asks for a GPU and there is none.
    """
    cluster = config.cluster
    if cluster.device == "cuda" and not largest.get("GPU"):
        raise ClusterError("cluster.device is cuda: found no node with a GPU, expected at least one")
    num_gpus = cluster.gpu_share if largest.get("GPU") and cluster.device != "cpu" else 0.0
    num_learners, beside = _num_learners(config), _pairs(config) if cluster.acting == "beside" else 0
    at_once = config.collection.num_collectors if beside and config.schedule == "overlapped" else 0
    free = int(largest.get("CPU", 1)) - at_once
    threads = cluster.learner_threads or (GPU_LEARNER_THREADS if num_gpus else max(1, free // num_learners))
    gpu = {"GPU": num_gpus} if num_gpus else {}
    first = {"CPU": float(max(threads + at_once, beside)), **gpu}
    others = [{"CPU": float(threads), **gpu}] * (num_learners - 1)
    elsewhere = [{"CPU": 1.0}] * (_pairs(config) if cluster.acting == "spread" else 0)
    return Needs([first, *others, *elsewhere], threads, num_gpus)


def learner_groups(config: RunConfig) -> list[list[str]]:
    """The parts that each group of learners trains, in order."""
    parts = list(config.trainings)
    return [[part] for part in parts] if config.cluster.learners == "split" else [parts]


def _num_learners(config: RunConfig) -> int:
    return len(learner_groups(config)) * config.cluster.data_parallel


def _pairs(config: RunConfig) -> int:
    """Of a collector and an evaluator; the last may have only one of them."""
    return max(config.collection.num_collectors, config.evaluation.num_evaluators)


def start_workers(config: RunConfig, run: RunDirectory, agent: AgentConfig, reservation: Reservation) -> Workers:
    """Starts all processes, without waiting for them."""
    learning: dict[str, Any] = {"seed": config.seed, "device": reservation.device}
    placements = iter(reservation.learners)

    def acting(index: int) -> dict[str, Any]:
        placement = reservation.acting[index]
        return {
            "seed": config.seed,
            "device": reservation.device if placement.num_gpus else "cpu",
            "placement": placement,
        }

    def worker(name: str, cls: type, *args: Any, **kwargs: Any) -> Worker:
        return Worker(name, partial(spawn, cls, *args, **kwargs))

    def learners(parts: Sequence[str]) -> LearnerGroup:
        name = f"learner of the {parts[0].replace('_', ' ')}" if config.cluster.learners == "split" else "learner"
        size, arguments = config.cluster.data_parallel, (Learner, agent, config.dataset, config.learner)
        names = [name] + [f"{name}, rank {rank}" for rank in range(1, size)]
        return LearnerGroup(parts, [worker(each, *arguments, placement=next(placements), **learning) for each in names])

    return Workers(
        store=worker("replay store", ReplayService, str(run.replay), run_name(config), placement=reservation.store),
        learners=[learners(parts) for parts in learner_groups(config)],
        collectors=[
            worker(f"collector {i}", Collector, config.env, config.collection, agent, index=i, **acting(i))
            for i in range(config.collection.num_collectors)
        ],
        evaluators=[
            worker(f"evaluator {i}", Evaluator, config.env, config.evaluation, agent, **acting(i))
            for i in range(config.evaluation.num_evaluators)
        ],
        reservation=reservation,
        start_timeout_s=config.cluster.start_timeout_s,
    )


def start_evaluators(
    cluster: ClusterConfig,
    agent: AgentConfig,
    env: EnvironmentConfig,
    evaluation: EvaluationConfig,
    count: int,
    most: int,
) -> list[Worker]:
    """Evaluators alone: `count`, or as many as there are CPUs, but `most` at most. They share all GPUs there are.

    Raises: ClusterError if the cluster has too little.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if cluster.device == "cuda" and not any(node.get("GPU") for node in nodes):
        raise ClusterError("--device cuda: found no node with a GPU, expected at least one")
    num_gpus = [0 if cluster.device == "cpu" else int(node.get("GPU", 0)) for node in nodes]
    wanted = min(count or most, most)
    room, share = evaluator_shares([int(node.get("CPU", 0)) for node in nodes], num_gpus, wanted)
    if not room:
        raise ClusterError("found no CPU to evaluate on, beside a GPU if there is one; expected at least one")
    if count and wanted > room:
        raise ClusterError(f"--evaluators: found {count}, expected at most {room}, for which the cluster has room")
    group = reserve(cluster, [{"CPU": 1.0, "GPU": share} if share else {"CPU": 1.0}] * room)
    places = [Placement(group, threads=1, num_gpus=share, bundle=index) for index in range(room)]
    arguments, device = (Evaluator, env, evaluation, agent), "cuda" if share else "cpu"
    return [
        Worker(f"evaluator {index}", partial(spawn, *arguments, seed=0, device=device, placement=place))
        for index, place in enumerate(places)
    ]


def evaluator_shares(num_cpus: Sequence[int], num_gpus: Sequence[int], most: int) -> tuple[int, float]:
    """How many evaluators nodes with so many CPUs and GPUs have room for, and how much of a GPU is each one's.

    Where there are GPUs, the nodes without one stay idle, so that one kind of device computes a whole evaluation.
    """
    if not any(num_gpus):
        return min(most, sum(num_cpus)), 0.0
    places = [(cpus, gpus) for cpus, gpus in zip(num_cpus, num_gpus, strict=True) if gpus]
    if not (count := min(most, sum(cpus for cpus, _ in places))):
        return 0, 0.0
    per_gpu = ceil(count / sum(gpus for _, gpus in places))
    count = min(count, sum(min(cpus, gpus * per_gpu) for cpus, gpus in places))
    return count, floor(1.0 / per_gpu / GPU_UNIT) * GPU_UNIT
