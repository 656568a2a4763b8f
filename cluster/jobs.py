"""Ray jobs of one kind, over HTTP: submitting, listing, stopping; and what room the cluster has for more.

Needs no Ray in this process: a laptop can talk to a cluster whose other ports it cannot reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, TypeVar
from urllib.parse import urlparse

import requests
from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient
from ray.util.state import list_nodes
from ray.util.state.exception import RayStateApiException

from cluster import TOKEN_IS_OURS
from cluster.connect import is_loopback, open_cluster
from cluster.errors import ClusterError, LostError
from cluster.ray_processes import add_up

STOP_WAIT_S = 30
"""How long a stopped job may take to end by itself; Ray's own three seconds are too few to finish a commit."""
_KEY, _ATTEMPT = "iris_ray_run", "iris_ray_attempt"
_NOT_SENT = ("/.git", "/docs", "/tests", "/benchmarks", "/runs")
"""Of the working directory; what .gitignore names is not sent either."""
Value = TypeVar("Value")
logging.getLogger("ray").setLevel(logging.WARNING)  # it tells of every file that it does not send


@dataclass(frozen=True)
class Job:
    """One attempt at a run."""

    id: str
    run: str
    attempt: int
    """From 1."""
    status: Literal["pending", "running", "stopped", "succeeded", "failed"]
    message: str
    """What Ray says about its end."""
    submitted_at: float
    """Seconds since the epoch."""

    @property
    def is_active(self) -> bool:
        return self.status in ("pending", "running")


class Jobs:
    """The jobs whose runs belong together under `name`."""

    def __init__(self, address: str, name: str, *, allow_open: bool = False) -> None:
        """
        Args:
            address: of the cluster's dashboard, http://host:port.

        Raises: LostError if it does not answer; ClusterError if others could reach the cluster without a token.
        """
        self._address = address
        self._name = name
        # A token made here opens nothing that is closed, and who asks for none does not mind it.
        try:
            host = urlparse(address).hostname or ""
        except ValueError as error:
            raise ClusterError(f"--address: found {address!r}, expected http://host:port ({error})") from error
        if TOKEN_IS_OURS and not allow_open and not is_loopback(host):
            raise open_cluster(address, host)
        self._client = self._ask(lambda: JobSubmissionClient(address))

    def list(self) -> list[Job]:
        """All that the cluster remembers, oldest first."""
        jobs = []
        for details in self._ask(self._client.list_jobs):
            metadata = details.metadata or {}
            name, _, run = metadata.get(_KEY, "").partition("/")
            if name == self._name:
                status: Any = str(details.status.value).lower()
                attempt, submitted_at = int(metadata.get(_ATTEMPT, "1")), (details.start_time or 0) / 1000
                jobs.append(Job(details.submission_id or "", run, attempt, status, details.message or "", submitted_at))
        return sorted(jobs, key=lambda job: (job.submitted_at, job.attempt))

    def submit(self, run: str, attempt: int, entrypoint: Sequence[str], working_dir: Path) -> None:
        """Starts an attempt at a run; one that was submitted already is not submitted again."""
        job_id = f"{self._name}.{run}.{attempt}"
        if any(job.id == job_id for job in self.list()):
            return
        runtime_env: dict[str, Any] = {
            "working_dir": str(working_dir),
            "excludes": list(_NOT_SENT),
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)},
        }
        metadata = {_KEY: f"{self._name}/{run}", _ATTEMPT: str(attempt)}
        command = " ".join(entrypoint)
        self._ask(
            lambda: self._client.submit_job(
                entrypoint=command, submission_id=job_id, runtime_env=runtime_env, metadata=metadata
            )
        )

    def stop(self, job: Job) -> None:
        """Asks a job to end; it finishes a commit that has begun."""
        self._ask(lambda: self._client.stop_job(job.id))

    def last_error(self, job: Job) -> str:
        """The last line of its log that tells of an error, else its last line, else what Ray says."""
        try:
            log = self._ask(lambda: self._client.get_job_logs(job.id))
        except LostError:  # gone with its node
            log = ""
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ") or "Error: " in line]
        return (errors or lines or [job.message.partition("\n")[0]])[-1]

    def room(self, bundles: Sequence[Mapping[str, float]], num_active: int) -> int:
        """How many more jobs would find what each of them needs free.

        Args:
            bundles: of "CPU" and "GPU"; each must be found on one node.
            num_active: jobs of ours that run or are about to; not all of them may have taken what they need yet.
        """
        in_all, usage, free = add_up(bundles), self._usage(), {}
        for name, amount in in_all.items():
            used, total = usage.get(name, (0.0, 0.0))
            free[name] = total - max(0.0, used - num_active * amount)  # what others use
        return max(0, min(_sets_that_fit(self._nodes(), bundles), _fits(free, in_all)) - num_active)

    def largest_node(self) -> dict[str, float]:
        """The most CPUs and GPUs that any one node has."""
        totals = self._nodes()
        return {name: max((total.get(name, 0.0) for total in totals), default=0.0) for name in ("CPU", "GPU")}

    def _nodes(self) -> list[Mapping[str, float]]:
        """What each node that is there has."""
        alive: Any = [("state", "=", "ALIVE")]
        # Shortly after a node died, the answer is incomplete; what is missing then is that node.
        nodes: Any = self._ask(lambda: list_nodes(address=self._address, filters=alive, raise_on_missing_output=False))
        return [node.resources_total or {} for node in nodes]

    def _usage(self) -> Mapping[str, tuple[float, float]]:
        """Resource -> used and total, over the cluster. Raises LostError if that is not known yet."""
        # Ray's public calls tell what nodes have, not what is free.
        answer = self._ask(lambda: self._client._do_request("GET", "/api/cluster_status").json())
        try:
            return answer["data"]["clusterStatus"]["loadMetricsReport"]["usage"]
        except (KeyError, TypeError) as error:  # shortly after its start
            raise LostError(f"the cluster at {self._address} does not say yet what is in use") from error

    def _ask(self, call: Callable[[], Value]) -> Value:
        """Raises LostError, in one line, if the cluster does not answer as it should; it may do so later."""
        try:
            return call()
        except (ConnectionError, RuntimeError, RayError, RayStateApiException, requests.RequestException) as error:
            reason = next((line for line in reversed(str(error).strip().splitlines()) if line.strip()), "no reason")
            raise LostError(
                f"the cluster at {self._address} does not answer: {shorten(reason, 200, placeholder=' …')}"
            ) from error


def _fits(has: Mapping[str, float], need: Mapping[str, float]) -> int:
    return min((floor(has.get(name, 0.0) / amount + 1e-9) for name, amount in need.items() if amount), default=0)


def _sets_that_fit(totals: Sequence[Mapping[str, float]], bundles: Sequence[Mapping[str, float]]) -> int:
    """How often all bundles find room on empty nodes, each on the one that has the least to spare."""
    nodes, count = [dict(total) for total in totals], 0
    while True:
        for bundle in bundles:
            if not (large_enough := [each for each in nodes if _fits(each, bundle)]):
                return count
            node = min(large_enough, key=lambda each: each.get("CPU", 0.0))
            for name, amount in bundle.items():
                if amount:
                    node[name] -= amount
        count += 1
