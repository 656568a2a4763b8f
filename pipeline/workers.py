"""The processes of a run: replay store, learner, collectors, evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import floor
from typing import Any

from ray.actor import ActorHandle

from actors.collector import Collector
from actors.evaluator import Evaluator
from actors.replay.service import ReplayService
from cluster.errors import ClusterError
from cluster.spawn import Placement, await_reserved, largest_node, reserve, spawn
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

    num_cpus: int
    num_gpus: float
    """On one node."""
    num_elsewhere: int
    """Single CPUs on any node."""
    threads: int
    """Of the learner."""


@dataclass(frozen=True)
class Reservation:
    """What the cluster has set aside for a run."""

    store: Placement
    acting: Sequence[Placement]
    """Of collectors and evaluators: the first of each, the second of each, …; they take turns."""
    learner: Placement

    @property
    def device(self) -> str:
        return "cuda" if self.learner.num_gpus else "cpu"


class Workers:
    """Each of them can be replaced by one that knows nothing of the run yet."""

    def __init__(
        self,
        *,
        store: Worker,
        learner: Worker,
        collectors: Sequence[Worker],
        evaluators: Sequence[Worker],
        reservation: Reservation,
        start_timeout_s: float,
    ) -> None:
        self._store = store
        self._learner = learner
        self._collectors = collectors
        self._evaluators = evaluators
        self._reservation = reservation
        self._start_timeout_s = start_timeout_s

    @property
    def store(self) -> ActorHandle:
        return self._store.actor

    @property
    def learner(self) -> ActorHandle:
        return self._learner.actor

    @property
    def collectors(self) -> list[ActorHandle]:
        return [worker.actor for worker in self._collectors]

    @property
    def evaluators(self) -> list[ActorHandle]:
        return [worker.actor for worker in self._evaluators]

    @property
    def device(self) -> str:
        """Of the learner."""
        return self._reservation.device

    @property
    def threads(self) -> int:
        """Of the learner."""
        return self._reservation.learner.threads

    def replace_lost(self) -> list[str]:
        """Replaces those that are dead or do not answer; their names.

        Raises: ClusterError if the cluster has no place for them in time.
        """
        every = [self._store, self._learner, *self._collectors, *self._evaluators]
        return self._replace(find_lost(every, self._start_timeout_s))

    def replace_all(self) -> list[str]:
        """Replaces every one; their names."""
        return self._replace([self._store, self._learner, *self._collectors, *self._evaluators])

    def _replace(self, workers: Sequence[Worker]) -> list[str]:
        # Where a node died, Ray first has to find another one with as much to give.
        await_reserved(self._reservation.store.group, self._start_timeout_s)
        for worker in workers:
            worker.replace()
        return [worker.name for worker in workers]


def reserve_resources(config: RunConfig) -> Reservation:
    """Collecting, learning and evaluating take turns, so beside each other they share what the largest of them needs.

    Collectors and evaluators compute with one thread each; beside the learner on its GPU, if it has one: half of it is
    counted as the learner's, half as theirs (Ray keeps the accounts; what they really use is small).

    Raises: ClusterError if the cluster has too little.
    """
    needs = needs_of(config, {name: largest_node(name) for name in ("CPU", "GPU")})
    group = reserve(config.cluster, num_cpus=needs.num_cpus, num_gpus=needs.num_gpus, num_elsewhere=needs.num_elsewhere)
    if needs.num_elsewhere:
        acting = [Placement(group, threads=1, bundle=index + 1) for index in range(needs.num_elsewhere)]
    else:
        num_acting = config.collection.num_collectors + config.evaluation.num_evaluators
        share = floor((1.0 - LEARNER_SHARE) * needs.num_gpus / num_acting / GPU_UNIT) * GPU_UNIT
        acting = [Placement(group, threads=1, num_gpus=share)] * _pairs(config)
    return Reservation(
        store=Placement(group, threads=1),
        acting=acting,
        learner=Placement(group, threads=needs.threads, num_gpus=LEARNER_SHARE * needs.num_gpus),
    )


def needs_of(config: RunConfig, largest: Mapping[str, float]) -> Needs:
    """What a run takes of a cluster, the largest of whose nodes has so many "CPU" and "GPU".

    Raises: ClusterError if it asks for a GPU and there is none.
    """
    cluster = config.cluster
    if cluster.device == "cuda" and not largest.get("GPU"):
        raise ClusterError("cluster.device is cuda: found no node with a GPU, expected at least one")
    num_gpus = cluster.gpu_share if largest.get("GPU") and cluster.device != "cpu" else 0.0
    threads = cluster.learner_threads or (GPU_LEARNER_THREADS if num_gpus else int(largest.get("CPU", 1)))
    if cluster.acting == "spread":
        return Needs(threads, num_gpus, _pairs(config), threads)
    return Needs(max(threads, _pairs(config)), num_gpus, 0, threads)


def _pairs(config: RunConfig) -> int:
    """Of a collector and an evaluator; the last may have only one of them."""
    return max(config.collection.num_collectors, config.evaluation.num_evaluators)


def start_workers(config: RunConfig, run: RunDirectory, agent: AgentConfig, reservation: Reservation) -> Workers:
    """Starts all processes, without waiting for them."""
    learning: dict[str, Any] = {
        "seed": config.seed,
        "device": reservation.device,
        "placement": reservation.learner,
    }

    def acting(index: int) -> dict[str, Any]:
        placement = reservation.acting[index]
        return {
            "seed": config.seed,
            "device": reservation.device if placement.num_gpus else "cpu",
            "placement": placement,
        }

    def worker(name: str, cls: type, *args: Any, **kwargs: Any) -> Worker:
        return Worker(name, partial(spawn, cls, *args, **kwargs))

    return Workers(
        store=worker("replay store", ReplayService, str(run.replay), run_name(config), placement=reservation.store),
        learner=worker("learner", Learner, agent, config.dataset, config.learner, **learning),
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
