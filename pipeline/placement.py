"""Which processes a run has and what each may use: arithmetic alone, which starts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

from cluster.errors import ClusterError
from cluster.process import Placement, Resources
from pipeline.config import RunConfig

GPU_LEARNER_THREADS = 4
LEARNER_SHARE = 0.5
"""Of a GPU; collectors and evaluators divide the rest."""
GPU_UNIT = 1e-4
"""What Ray counts GPUs in: it rounds, so that shares of 1/6 would not fit into their sum."""


@dataclass(frozen=True)
class Layout:
    """What a run takes of a cluster, and who gets it."""

    bundles: Sequence[Resources]
    """Each on one node: that of the first learner and of all that works beside it, those of the other learners, then
    those of who acts elsewhere."""
    labels: Sequence[Mapping[str, str]]
    """That the node of each bundle must have."""
    learners: Sequence[Placement]
    """Of every rank of the first group, of the second, …"""
    acting: Sequence[Placement]
    """Of collectors and evaluators: the first of each, the second of each, …; they take turns."""
    env_processes: int
    """That step the environments of each collector, a CPU each while the collector waits; 0 if it does so itself."""

    @property
    def device(self) -> str:
        """Of the learners."""
        return "cuda" if self.learners[0].num_gpus else "cpu"

    @property
    def threads(self) -> int:
        """Of each learner."""
        return self.learners[0].threads


def layout_of(config: RunConfig, nodes: Sequence[Resources]) -> Layout:
    """The layout of a run on a cluster of such nodes.

    In a synchronous schedule collecting, learning and evaluating take turns, so beside each other they share what the
    largest of them needs. In an overlapped one collectors have CPUs of their own; evaluators go on sharing them.
    Who acts computes with one thread; beside the first learner on its GPU, if it has one: half of it is counted as the
    learner's, half as theirs (Ray keeps the accounts; what they really use is small).

    Raises: ClusterError if it asks for a GPU and there is none.
    """
    largest = {name: max((int(node.get(name, 0)) for node in nodes), default=0) for name in ("CPU", "GPU")}
    cluster = config.cluster
    if cluster.device == "cuda" and not largest["GPU"]:
        raise ClusterError("cluster.device is cuda: found no node with a GPU, expected at least one")
    num_gpus = cluster.gpu_share if largest["GPU"] and cluster.device != "cpu" else 0.0
    num_learners = len(learner_groups(config)) * cluster.data_parallel
    collectors = config.collection.num_collectors
    # Of a collector and an evaluator; the last may have only one of them.
    pairs = max(collectors, config.evaluation.num_evaluators)
    is_beside = cluster.acting == "beside"
    env_processes = _env_processes(config, largest["CPU"] // (collectors if is_beside else 1))
    beside = max(pairs, collectors * env_processes) if is_beside else 0
    at_once = collectors * max(1, env_processes) if is_beside and config.schedule == "overlapped" else 0
    free = largest["CPU"] - at_once
    threads = cluster.learner_threads or (GPU_LEARNER_THREADS if num_gpus else max(1, free // num_learners))
    gpu = {"GPU": num_gpus} if num_gpus else {}
    bundles = [{"CPU": float(max(threads + at_once, beside)), **gpu}]
    bundles += [{"CPU": float(threads), **gpu}] * (num_learners - 1)
    learners = [Placement(threads, num_gpus, bundle) for bundle in range(num_learners)]
    if is_beside:
        num_acting = collectors + config.evaluation.num_evaluators
        share = floor((1.0 - LEARNER_SHARE) * num_gpus / num_acting / GPU_UNIT) * GPU_UNIT
        learners[0] = replace(learners[0], num_gpus=LEARNER_SHARE * num_gpus)
        return Layout(bundles, [{}] * num_learners, learners, [Placement(1, share)] * pairs, env_processes)
    name, _, value = cluster.acting_on.partition("=")
    label = {name: value} if name else {}
    acting = [Placement(1, bundle=num_learners + index) for index in range(pairs)]
    bundles += [{"CPU": float(max(1, env_processes))}] * pairs
    return Layout(bundles, [{}] * num_learners + [label] * pairs, learners, acting, env_processes)


def _env_processes(config: RunConfig, cpus: int) -> int:
    """For a collector on so many CPUs."""
    count = min(config.collection.env_processes, config.collection.envs_per_collector, cpus)
    return count if count > 1 else 0


def learner_groups(config: RunConfig) -> list[list[str]]:
    """The parts that each group of learners trains, in order."""
    parts = list(config.trainings)
    return [[part] for part in parts] if config.cluster.learners == "split" else [parts]


def shares(amount: int, count: int) -> list[int]:
    """An amount divided into equal shares; the first ones take what is left over."""
    return [amount // count + (index < amount % count) for index in range(count)]


def evaluator_shares(nodes: Sequence[Resources], most: int) -> tuple[int, float]:
    """How many evaluators of one CPU each such nodes have room for, and how much of a GPU is each one's.

    Where there are GPUs, the nodes without one stay idle, so that one kind of device computes a whole evaluation.
    """
    places = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    if not any(gpus for _, gpus in places):
        return min(most, sum(cpus for cpus, _ in places)), 0.0
    places = [(cpus, gpus) for cpus, gpus in places if gpus]
    if not (count := min(most, sum(cpus for cpus, _ in places))):
        return 0, 0.0
    per_gpu = ceil(count / sum(gpus for _, gpus in places))
    count = min(count, sum(min(cpus, gpus * per_gpu) for cpus, gpus in places))
    return count, floor(1.0 / per_gpu / GPU_UNIT) * GPU_UNIT
