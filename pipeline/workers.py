"""The processes of a run: replay store, learner, collectors, evaluators."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from ray.actor import ActorHandle

from actors.collector import Collector
from actors.evaluator import Evaluator
from actors.replay.service import ReplayService
from cluster.errors import ClusterError
from cluster.spawn import Placement, largest_node, reserve, spawn
from cluster.supervise import wait
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
class Workers:
    store: ActorHandle
    learner: ActorHandle
    collectors: list[ActorHandle]
    evaluators: list[ActorHandle]
    device: str
    """Of the learner."""
    threads: int
    """Of the learner."""
    parameter_counts: dict[str, int]


@dataclass(frozen=True)
class Reservation:
    """What the cluster has set aside for a run."""

    store: Placement
    acting: Placement
    """Of each collector and evaluator."""
    learner: Placement

    @property
    def device(self) -> str:
        return "cuda" if self.learner.num_gpus else "cpu"


def reserve_resources(config: RunConfig) -> Reservation:
    """Collecting, learning and evaluating take turns, so they share what the largest of them needs.

    Collectors and evaluators compute with one thread each, on the learner's GPU if it has one: half of it is counted as
    the learner's, half as theirs (Ray keeps the accounts; what they really use is small).

    Raises: ClusterError if the cluster has too little.
    """
    cluster = config.cluster
    gpus_found = largest_node("GPU")
    if cluster.device == "cuda" and not gpus_found:
        raise ClusterError("cluster.device is cuda: found no node with a GPU, expected at least one")
    num_gpus = 1 if gpus_found and cluster.device != "cpu" else 0
    threads = cluster.learner_threads or (GPU_LEARNER_THREADS if num_gpus else largest_node("CPU"))
    num_cpus = max(threads, config.collection.num_collectors, config.evaluation.num_evaluators)
    group = reserve(cluster, num_cpus=num_cpus, num_gpus=num_gpus)
    num_acting = config.collection.num_collectors + config.evaluation.num_evaluators
    share = floor((1.0 - LEARNER_SHARE) / num_acting / GPU_UNIT) * GPU_UNIT
    return Reservation(
        store=Placement(group, threads=1),
        acting=Placement(group, threads=1, num_gpus=share * num_gpus),
        learner=Placement(group, threads=threads, num_gpus=LEARNER_SHARE * num_gpus),
    )


def start_workers(config: RunConfig, run: RunDirectory, agent: AgentConfig, reservation: Reservation) -> Workers:
    """Starts all processes. Raises ClusterError if the learner does not start in time."""
    acting, device, seed = reservation.acting, reservation.device, config.seed
    store = spawn(ReplayService, str(run.replay), run_name(config), placement=reservation.store)
    learner = spawn(
        Learner,
        agent,
        config.dataset,
        config.learner,
        seed=seed,
        device=device,
        placement=reservation.learner,
    )
    collectors = [
        spawn(Collector, config.env, config.collection, agent, seed=seed, index=index, device=device, placement=acting)
        for index in range(config.collection.num_collectors)
    ]
    evaluators = [
        spawn(Evaluator, config.env, config.evaluation, agent, seed=seed, device=device, placement=acting)
        for _ in range(config.evaluation.num_evaluators)
    ]
    counts = wait(learner.parameter_counts.remote(), "the learner to start", config.cluster.start_timeout_s)
    threads = reservation.learner.threads
    return Workers(store, learner, collectors, evaluators, device, threads, counts)
