"""Jobs without a cluster: what is asked of Ray's client, and what is made of its answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from cluster import jobs as module
from cluster.errors import ClusterError, LostError
from cluster.jobs import Jobs


class FakeClient:
    def __init__(self, address: str) -> None:
        self.details: list[Any] = [job("other.run.1", {}), job("theirs", {"iris_ray_run": "theirs/run"})]
        self.submitted: list[dict[str, Any]] = []
        self.used = {"CPU": [0.0, 6.0], "GPU": [0.0, 2.0]}
        self.log = ""

    def list_jobs(self) -> list[Any]:
        return self.details

    def submit_job(self, **request: Any) -> None:
        self.submitted.append(request)
        self.details.append(job(request["submission_id"], request["metadata"], status=JobStatus.RUNNING))

    def get_job_logs(self, job_id: str) -> str:
        return self.log

    def _do_request(self, method: str, path: str) -> Any:
        data = {"clusterStatus": {"loadMetricsReport": {"usage": self.used}}}
        return SimpleNamespace(json=lambda: {"data": data})


def job(job_id: str, metadata: dict[str, str], **changes: Any) -> Any:
    known = {"message": None, "start_time": 1000}
    details = {"submission_id": job_id, "metadata": metadata, "status": JobStatus.PENDING, **known, **changes}
    return SimpleNamespace(**details)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient("")
    monkeypatch.setattr(module, "JobSubmissionClient", lambda address: client)
    sizes = [{"CPU": 1.0}, {"CPU": 4.0, "GPU": 2.0}, {"CPU": 1.0}]
    monkeypatch.setattr(module, "list_nodes", lambda **_: [SimpleNamespace(resources_total=size) for size in sizes])
    monkeypatch.setattr(module, "TOKEN_IS_OURS", False)
    return client


def test_a_run_is_submitted_once_under_a_name_that_says_which(client: FakeClient):
    jobs = Jobs("http://127.0.0.1:1", "sweep")
    assert jobs.list() == []
    for _ in range(2):
        jobs.submit("catch-seed0", 1, ["python", "-m", "pipeline.train"], Path("/project"))
    (request,) = client.submitted
    assert request["submission_id"] == "sweep.catch-seed0.1"
    assert request["entrypoint"] == "python -m pipeline.train"
    assert request["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "30"}
    (found,) = jobs.list()
    assert (found.run, found.attempt, found.is_active) == ("catch-seed0", 1, True)
    assert Jobs("http://127.0.0.1:1", "swe").list() == []


@pytest.mark.parametrize(
    ("bundles", "used", "active", "room"),
    [
        ([{"CPU": 1}], 0.0, 0, 6),
        ([{"CPU": 1}, {"CPU": 2}], 0.0, 0, 2),  # the small bundles on the small nodes
        ([{"CPU": 3}, {"CPU": 3}], 0.0, 0, 0),  # six are there, but not three twice
        ([{"CPU": 2}], 0.0, 0, 2),  # the two nodes of one CPU are no help
        ([{"CPU": 2, "GPU": 1}], 0.0, 0, 2),
        ([{"CPU": 1, "GPU": 0.5}], 0.0, 0, 4),
        ([{"CPU": 8}], 0.0, 0, 0),
        ([{"CPU": 1}], 2.0, 2, 4),  # ours are what is used
        ([{"CPU": 1}], 0.0, 2, 4),  # ours have not taken it yet
        ([{"CPU": 1}], 5.0, 2, 1),  # three are others'
        ([{"CPU": 1, "GPU": 0}], 0.0, 0, 6),
        ([{"CPU": 1}, *[{"CPU": 1}] * 2], 0.0, 0, 2),  # three CPUs each
        ([{"CPU": 2}, {"CPU": 1}], 3.0, 1, 1),
    ],
)
def test_room_is_what_neither_we_nor_others_use(client: FakeClient, bundles: Any, used: float, active: int, room: int):
    client.used["CPU"][0] = used
    assert Jobs("http://127.0.0.1:1", "sweep").room(bundles, active) == room


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("iteration 1\nerror: no room\nsome advice\n", "error: no room"),
        ("Traceback\nValueError: 3\n", "ValueError: 3"),
        ("run directory /x\n\n", "run directory /x"),
        ("", "the driver died"),
    ],
)
def test_the_cause_of_a_death_is_the_last_error_in_the_log(client: FakeClient, log: str, cause: str):
    client.details.append(
        job("s.r.1", {"iris_ray_run": "s/r"}, status=JobStatus.FAILED, message="the driver died\nsee")
    )
    client.log = log
    jobs = Jobs("http://127.0.0.1:1", "s")
    assert jobs.last_error(jobs.list()[0]) == cause


def test_where_the_log_is_gone_the_cause_is_what_ray_says(client: FakeClient, monkeypatch: pytest.MonkeyPatch):
    client.details.append(job("s.r.1", {"iris_ray_run": "s/r"}, status=JobStatus.FAILED, message="its node died\nsee"))

    def gone(job_id: str) -> str:
        raise RuntimeError("Request failed with status code 500")

    monkeypatch.setattr(client, "get_job_logs", gone)
    jobs = Jobs("http://127.0.0.1:1", "s")
    assert jobs.last_error(jobs.list()[0]) == "its node died"


def test_no_answer_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TOKEN_IS_OURS", False)
    with pytest.raises(LostError, match=r"the cluster at http://127\.0\.0\.1:9 does not answer: ") as lost:
        Jobs("http://127.0.0.1:9", "sweep")
    assert len(str(lost.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("address", "allowed", "refused"),
    [
        ("http://10.0.0.1:8265", False, True),
        ("http://10.0.0.1:8265", True, False),
        ("http://127.0.0.1:8265", False, False),
        ("http://localhost:8265", False, False),
    ],
)
def test_without_a_token_only_a_cluster_of_this_machine_is_used(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, address: str, allowed: bool, refused: bool
):
    monkeypatch.setattr(module, "TOKEN_IS_OURS", True)
    if refused:
        with pytest.raises(ClusterError, match=f"the cluster at {address} is open"):
            Jobs(address, "sweep", allow_open=allowed)
    else:
        Jobs(address, "sweep", allow_open=allowed)


def test_an_address_that_is_none_is_one_line():
    with pytest.raises(
        ClusterError, match=r"^--address: found 'http://\[::1', expected http://host:port \(Invalid IPv6 URL\)$"
    ):
        Jobs("http://[::1", "sweep")
