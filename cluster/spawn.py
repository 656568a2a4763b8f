"""Plain classes as Ray actors, with threads and memory set so that processes do not get in each other's way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.config import ClusterConfig
from cluster.errors import ClusterError, LostError


@dataclass(frozen=True)
class Placement:
    """Where an actor runs and what it may use."""

    group: PlacementGroup
    threads: int
    num_gpus: float = 0.0
    bundle: int = 0
    """Which part of the group."""


def reserve(
    config: ClusterConfig, bundles: Sequence[Mapping[str, float]], labels: Sequence[Mapping[str, str]] | None = None
) -> PlacementGroup:
    """Sets resources ("CPU", "GPU") aside: each bundle on one node, different ones on different nodes where possible.

    Args:
        labels: those that the node of each bundle must have; default: none.

    Raises: ClusterError if the cluster cannot give them within `start_timeout_s`; at once if it never could.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    labels = labels or [{}] * len(bundles)
    for bundle, own in zip(bundles, labels, strict=True):
        on = [node["Resources"] for node in nodes if own.items() <= node["Labels"].items()]
        where = " with " + ", ".join(f"{name}={value}" for name, value in own.items()) if own else ""
        if not on:
            raise ClusterError(f"found no node{where}, expected at least one")
        if not any(all(node.get(name, 0) >= amount for name, amount in bundle.items()) for node in on):
            largest = {name: float(max(node.get(name, 0) for node in on)) for name in bundle}
            words = f"found {_words(largest)}, expected {_words(bundle)} on one{where}"
            raise ClusterError(f"no node is large enough: {words}")
    wanted = add_up(bundles)
    found = {name: sum(node["Resources"].get(name, 0.0) for node in nodes) for name in wanted}
    if any(found[name] < amount for name, amount in wanted.items()):
        where = f"on {len(nodes)} nodes"
        raise ClusterError(f"the cluster is too small: found {_words(found)} {where}, expected {_words(wanted)}")
    # As one group, or several runs would wait for each other's halves.
    selectors = [dict(each) for each in labels]
    group = placement_group([dict(each) for each in bundles], strategy="SPREAD", bundle_label_selector=selectors)
    if not group.wait(config.start_timeout_s):
        remove_placement_group(group)  # or it takes them once they are free
        free = {name: ray.available_resources().get(name, 0.0) for name in wanted}
        waited = f"no free resources after {config.start_timeout_s} s"
        expected = ", ".join(_words(bundle) for bundle in bundles)
        raise ClusterError(f"{waited}: found {_words(free)}, expected {expected}, each on one node")
    return group


def add_up(bundles: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """All resources of some bundles."""
    total: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def host_of(placement: Placement) -> str:
    """Address of the node on which something is placed. Raises: LostError if that node has just died."""
    node_id = placement_group_table(placement.group)["bundles_to_node_id"].get(placement.bundle)
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return node["NodeManagerAddress"]
    raise LostError(f"the node of bundle {placement.bundle} is lost")


def await_reserved(group: PlacementGroup, timeout_s: float) -> None:
    """Waits until what was reserved is there, which it is unless its node died.

    Raises: ClusterError if no other node had as much in time.
    """
    if not group.wait(timeout_s):
        wanted = ", ".join(_words(bundle) for bundle in group.bundle_specs)
        raise ClusterError(f"a node was lost: found no other with what it gave of {wanted} in {timeout_s:g} s")


def largest_node(resource: str) -> int:
    """The most of a resource ("CPU", "GPU") that any one node has."""
    return max((int(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"]), default=0)


def spawn(cls: type, *args: Any, placement: Placement, **kwargs: Any) -> ActorHandle:
    """Starts `cls(*args, **kwargs)` as a Ray actor. The arguments alone must rebuild it.

    Its threads and memory are set by `worker_environment`; without a GPU of its own it sees none.
    """
    environment = worker_environment(placement.threads)
    if not placement.num_gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    strategy = PlacementGroupSchedulingStrategy(placement.group, placement_group_bundle_index=placement.bundle)
    # The group's CPUs are shared by actors that take turns, so none of them holds one for itself.
    options = {"num_cpus": 0, "num_gpus": placement.num_gpus, "scheduling_strategy": strategy}
    actor: Any = ray.remote(cls)  # Ray has no types for this
    return actor.options(**options, runtime_env={"env_vars": environment}).remote(*args, **kwargs)


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables of a process that computes, to be set before it loads torch.

    Its threads spin some microseconds for the next operation, then sleep: without the first, a small network imagines
    2.3 times slower; without the second, every other process on a small machine is slowed down (measured 70 to 600
    times). Large tensors reuse memory instead of mapping it afresh (1.2 to 4.5 times faster convolutions on CPU). A
    GPU's matrix products get the fixed workspace without which `learner.deterministic` refuses them.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "2000",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }


def _words(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
