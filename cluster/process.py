"""The seam between a run and its processes: who starts, calls and replaces them knows no more than this.

Ray's actors are one kind (`ray_processes.py`), objects of this very process another (`this_process.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Resources = Mapping[str, float]
"""Amounts of "CPU" and "GPU", and bytes of "memory"."""


@dataclass(frozen=True)
class Placement:
    """Where a process runs and what it may use."""

    threads: int
    num_gpus: float = 0.0
    bundle: int = 0
    """Which part of what was reserved."""


class Process(Protocol):
    """An object somewhere, built from its arguments alone, so that it can be built again."""

    name: str
    """For people."""

    def call(self, method: str, *args: Any, num_returns: int = 1, **kwargs: Any) -> Any:
        """Calls a method: a reference to its value, or to each of `num_returns` values, at once or once it is done.

        Arguments may be references themselves. What the method raises is raised where somebody waits for its value.
        """
        ...

    def replace(self) -> None:
        """Builds it again; what is left of the old one ends."""
        ...


class Processes(Protocol):
    """Where processes can be."""

    def nodes(self) -> list[Resources]:
        """What each machine has."""
        ...

    def reserve(self, bundles: Sequence[Resources], labels: Sequence[Mapping[str, str]] | None = None) -> None:
        """Sets resources aside for all processes that are started here: each bundle on one machine.

        Args:
            labels: those that the machine of each bundle must have; default: none.

        Raises: ClusterError, in one line, if they are not to be had.
        """
        ...

    def start(self, name: str, cls: type, *args: Any, placement: Placement, **kwargs: Any) -> Process:
        """Builds `cls(*args, **kwargs)` as a process, without waiting for it."""
        ...

    def put(self, value: Any) -> Any:
        """A reference to a value, which outlives every process but this one."""
        ...

    async def arrival(self, references: Any, what: str, timeout_s: float) -> Any:
        """The value of a reference, or of a list of references; `what` says what for.

        Raises: LostError if it did not come in time, or what was to give it is lost; ClusterError if the process could
            not even start; what the call itself raised, if it did. The last two would only happen again.
        """
        ...

    def find_lost(self, processes: Iterable[Process], timeout_s: float) -> list[Process]:
        """Those that are dead or do not answer; the others have finished what they were doing."""
        ...

    def await_reserved(self, timeout_s: float) -> None:
        """Waits until what was reserved is there, which it is unless its machine died. Raises: ClusterError."""
        ...

    def host_of(self, placement: Placement) -> str:
        """Address of the machine on which something is placed. Raises: LostError if it has just died."""
        ...


def num_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


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
