"""Processes as Ray actors: what they need is reserved, every wait is bounded, and what is lost can be replaced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.errors import ClusterError, LostError
from cluster.lifelines import Lifelines
from cluster.process import Placement, Process, Resources, worker_environment
from learners.machine import total_memory


class RayProcess:
    """A Ray actor and how to start it again."""

    def __init__(self, name: str, start: Callable[[], ActorHandle]) -> None:
        # Ray would restart an actor by itself, but then its next call meets an empty state and does not know.
        self.name = name
        self._start = start
        self.actor = start()

    def call(self, method: str, *args: Any, num_returns: int = 1, **kwargs: Any) -> Any:
        return getattr(self.actor, method).options(num_returns=num_returns).remote(*args, **kwargs)

    def replace(self) -> None:
        ray.kill(self.actor)
        self.actor = self._start()


class RayProcesses:
    """Processes of one run on the cluster that this process has joined, on what it has reserved there."""

    def __init__(self, start_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._lifelines = Lifelines()
        self._group: PlacementGroup | None = None

    def nodes(self) -> list[Resources]:
        own, nodes = ray.get_runtime_context().get_node_id(), [node for node in ray.nodes() if node["Alive"]]
        return [_limited(each["Resources"]) if each["NodeID"] == own else each["Resources"] for each in nodes]

    def reserve(self, bundles: Sequence[Resources], labels: Sequence[Mapping[str, str]] | None = None) -> None:
        """Raises: ClusterError if the cluster cannot give them in time; at once if it never could."""
        selectors = [dict(each) for each in labels or [{}] * len(bundles)]
        _check_size(bundles, selectors)
        # As one group, or several runs would wait for each other's halves; where possible, each on a node of its own.
        group = placement_group([dict(each) for each in bundles], strategy="SPREAD", bundle_label_selector=selectors)
        if not group.wait(self._start_timeout_s):
            remove_placement_group(group)  # or it takes them once they are free
            free = {name: ray.available_resources().get(name, 0.0) for name in add_up(bundles)}
            waited = f"no free resources after {self._start_timeout_s:g} s"
            expected = ", ".join(_words(bundle) for bundle in bundles)
            raise ClusterError(f"{waited}: found {_words(free)}, expected {expected}, each on one node")
        self._group = group

    def start(self, name: str, cls: type, *args: Any, placement: Placement, **kwargs: Any) -> RayProcess:
        """Its threads and memory are set by `worker_environment`; without a GPU of its own it sees none."""
        environment = worker_environment(placement.threads)
        if not placement.num_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        strategy = PlacementGroupSchedulingStrategy(self._reserved, placement_group_bundle_index=placement.bundle)
        # The group's CPUs are shared by actors that take turns, so none of them holds one for itself.
        options = {"num_cpus": 0, "num_gpus": placement.num_gpus, "scheduling_strategy": strategy}
        actor: Any = ray.remote(cls)  # Ray has no types for this
        return RayProcess(
            name, lambda: actor.options(**options, runtime_env={"env_vars": environment}).remote(*args, **kwargs)
        )

    def put(self, value: Any) -> Any:
        self._lifelines.check()
        return ray.put(value)

    async def arrival(self, references: Any, what: str, timeout_s: float) -> Any:
        """`wait` for those who have other things to do meanwhile. Raises: the same, and GoneError."""
        with _as_losses(what, timeout_s):
            async with asyncio.timeout(timeout_s):
                one = isinstance(references, ray.ObjectRef)
                return await self._lifelines.hold(references if one else asyncio.gather(*references))

    def find_lost(self, processes: Iterable[Process], timeout_s: float) -> list[Process]:
        self._lifelines.check()
        answers = [(process, process.call("__ray_ready__")) for process in processes]
        lost, deadline = [], time.monotonic() + timeout_s
        for process, answer in answers:
            try:
                wait(answer, f"an answer of the {process.name}", max(0.0, deadline - time.monotonic()))
            except LostError:
                lost.append(process)
        return lost

    def await_reserved(self, timeout_s: float) -> None:
        """Raises: ClusterError if a node died and no other had as much in time."""
        try:
            there = self._reserved.wait(timeout_s)
        except Exception as error:  # of many classes, where the node of this very process is gone
            raise ClusterError(f"the cluster does not answer any more ({type(error).__name__})") from error
        if not there:
            wanted = ", ".join(_words(bundle) for bundle in self._reserved.bundle_specs)
            raise ClusterError(f"a node was lost: found no other with what it gave of {wanted} in {timeout_s:g} s")

    def host_of(self, placement: Placement) -> str:
        node_id = placement_group_table(self._reserved)["bundles_to_node_id"].get(placement.bundle)
        for node in ray.nodes():
            if node["NodeID"] == node_id:
                return node["NodeManagerAddress"]
        raise LostError(f"the node of bundle {placement.bundle} is lost")

    def release(self) -> None:
        """Gives back what was reserved."""
        remove_placement_group(self._reserved)

    @property
    def _reserved(self) -> PlacementGroup:
        assert self._group, "nothing was reserved yet"
        return self._group


def wait(reference: Any, what: str, timeout_s: float) -> Any:
    """The value of a reference, or of a list of references.

    Raises: LostError if it did not come in time, its process died or Ray lost it; ClusterError if the process could not
        even start; what the call itself raised, if it did. The last two would only happen again.
    """
    with _as_losses(what, timeout_s):
        return ray.get(reference, timeout=timeout_s)


@contextmanager
def _as_losses(what: str, timeout_s: float) -> Iterator[None]:
    """Says what an error of Ray means here."""
    try:
        yield
    except GetTimeoutError as error:
        raise LostError(f"waited {timeout_s:g} s for {what} in vain") from error
    except RayError as error:
        # Ray raises a subclass of the call's own exception, whose text is a traceback; where an argument of the call
        # was lost, that "own" exception is Ray's again.
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, RayError):
            raise cause from error  # which keeps the traceback, for a bug
        if isinstance(cause, RayActorError):
            kind = ClusterError if cause.actor_init_failed else LostError
            raise kind(f"the process died that was to do: {what} ({_reason(cause)})") from error
        raise LostError(f"lost: {what} ({type(cause).__name__}: {_reason(cause)})") from error
    except TimeoutError as error:  # of `arrival`; one that the call raised was a RayError
        raise LostError(f"waited {timeout_s:g} s for {what} in vain") from error


def _limited(resources: Resources) -> Resources:
    """Of this machine: Ray knows the limit of a container, but not of control groups within it."""
    return {**resources, "memory": min(float(total_memory()), resources.get("memory", float("inf")))}


def _check_size(bundles: Sequence[Resources], labels: Sequence[Mapping[str, str]]) -> None:
    """Raises ClusterError if the cluster, with nothing else on it, could not give the bundles."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
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


def add_up(bundles: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """All resources of some bundles."""
    total: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def _reason(error: Exception) -> str:
    """Ray's last line: what raised in a constructor, or how a process ended; before it come ids and tracebacks, after
    it advice."""
    line = str(error).strip().rpartition("\n")[2]
    return shorten(line.partition(" Worker exit detail:")[0], 200, placeholder=" …")


def _words(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
