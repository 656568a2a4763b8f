"""The processes of a run: replay store, learner, collectors, evaluators."""

from __future__ import annotations

from dataclasses import dataclass

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

    single: Placement
    """Of a process that computes with one thread."""
    learner: Placement

    @property
    def device(self) -> str:
        return "cuda" if self.learner.num_gpus else "cpu"


def reserve_resources(config: RunConfig) -> Reservation:
    """Collecting, learning and evaluating take turns, so they share what the largest of them needs.

    Collectors and evaluators compute with one thread each.

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
    return Reservation(Placement(group, threads=1), Placement(group, threads=threads, num_gpus=num_gpus))


def start_workers(config: RunConfig, run: RunDirectory, agent: AgentConfig, reservation: Reservation) -> Workers:
    """Starts all processes. Raises ClusterError if the learner does not start in time."""
    single, seed = reservation.single, config.seed
    store = spawn(ReplayService, str(run.replay), run_name(config), placement=single)
    learner = spawn(
        Learner,
        agent,
        config.dataset,
        config.learner,
        seed=seed,
        device=reservation.device,
        placement=reservation.learner,
    )
    collectors = [
        spawn(Collector, config.env, config.collection, agent, seed=seed, index=index, placement=single)
        for index in range(config.collection.num_collectors)
    ]
    evaluators = [
        spawn(Evaluator, config.env, config.evaluation, agent, seed=seed, placement=single)
        for _ in range(config.evaluation.num_evaluators)
    ]
    counts = wait(learner.parameter_counts.remote(), "the learner to start", config.cluster.start_timeout_s)
    threads = reservation.learner.threads
    return Workers(store, learner, collectors, evaluators, reservation.device, threads, counts)
