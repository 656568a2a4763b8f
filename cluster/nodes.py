"""Looks at every node of a cluster before a run begins: can it see the run's directory, has it the same packages?"""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.config import PROBE
from cluster.errors import ClusterError, LostError
from cluster.ray_processes import wait

PACKAGES = ("torch", "numpy", "pyarrow", "gymnasium", "ale-py", "crafter")
"""What results depend on; that Ray and Python are the same everywhere, Ray itself demands."""


def check_nodes(directory: Path, timeout_s: float) -> None:
    """Lets every node read a file that this process has written into a directory, and write one beside it.

    Raises: ClusterError, in one line, naming the first node that cannot, or has another version of a package;
        LostError if a node that is alive does not answer in time.
    """
    word = token_hex(8)
    ours = directory / f"{PROBE}driver-{word}"
    nodes = _alive()
    ours.write_text(word)
    try:
        look: Any = ray.remote(_look)
        calls = {
            node: look.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                str(ours), str(directory / f"{PROBE}{node}-{word}")
            )
            for node in nodes
        }
        for node, call in calls.items():
            try:
                problem, packages = wait(call, f"node {nodes[node]} to look at {directory}", timeout_s)
            except LostError:
                if node in _alive():
                    raise
                continue  # it has died, and need not see anything
            theirs = directory / f"{PROBE}{node}-{word}"
            if not problem and not theirs.exists():
                problem = "it writes into another directory of that name"
            if problem:
                raise ClusterError(f"node {nodes[node]} ({node[:8]}) cannot use {directory}: {problem}")
            for name, expected in _versions().items():
                if packages[name] != expected:
                    raise ClusterError(
                        f"node {nodes[node]} ({node[:8]}): found {name} {packages[name]}, expected {expected} as here"
                    )
    finally:
        for path in directory.glob(f"{PROBE}*"):  # also those of a process that was killed here
            with suppress(OSError):
                path.unlink()


def _alive() -> dict[str, str]:
    """Id and host name of every node."""
    return {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}


def _look(ours: str, theirs: str) -> tuple[str, dict[str, str]]:
    """On a node: what is wrong ("" if nothing) and its versions."""
    try:
        Path(ours).read_text()
        Path(theirs).write_text("")
        problem = ""
    except OSError as error:
        problem = f"{error.strerror} ({error.filename})"
    return problem, _versions()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found
