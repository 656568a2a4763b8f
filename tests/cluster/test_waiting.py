"""Every wait ends: with the value, with what the call raised, or with a line about what was awaited.

All of it holds for `wait` and for `arrival`, which every test here takes turns in calling `wait`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from threading import Timer

import pytest
import ray
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    OwnerDiedError,
    RayError,
    WorkerCrashedError,
)

from actors.damage import DamagedExperienceError
from cluster.errors import ClusterError, LostError
from cluster.process import Placement
from cluster.ray_processes import RayProcess, RayProcesses, wait
from pipeline.stop import Stopped, StopSignals
from tests.cluster.fakes import DAMAGE, NeverStarts, Worker

pytestmark = pytest.mark.ray
PATIENCE_S = 120


@pytest.fixture(autouse=True, params=["wait", "arrival"])
def way_of_waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "arrival":
        monkeypatch.setattr(
            sys.modules[__name__], "wait", lambda *arguments: asyncio.run(RayProcesses(1.0).arrival(*arguments))
        )
    return request.param


@pytest.fixture
def worker(processes: RayProcesses) -> Iterator[RayProcess]:
    worker = start(processes, "w")
    yield worker
    ray.kill(worker.actor)


def start(processes: RayProcesses, name: str) -> RayProcess:
    return processes.start(name, Worker, name, placement=Placement(threads=1))


def test_the_value_of_a_call_comes_back(worker: RayProcess):
    assert wait(worker.call("name"), "its name", PATIENCE_S) == "w"


def test_a_list_of_calls_gives_a_list_in_their_order(worker: RayProcess, processes: RayProcesses):
    other = start(processes, "other")
    assert wait([other.call("name"), worker.call("name")], "their names", PATIENCE_S) == ["other", "w"]
    ray.kill(other.actor)


def test_a_wait_for_something_that_never_comes_ends_and_says_what_it_was(worker: RayProcess):
    wait(worker.call("name"), "it to start", PATIENCE_S)
    start = time.monotonic()
    with pytest.raises(LostError) as lost:
        wait(worker.call("hang"), "a call that hangs", 0.6)
    assert time.monotonic() - start < 20
    assert str(lost.value) == "waited 0.6 s for a call that hangs in vain"


def test_a_worker_that_is_killed_is_an_error_that_says_what_it_was_doing(worker: RayProcess):
    wait(worker.call("name"), "it to start", PATIENCE_S)
    call = worker.call("hang")
    ray.kill(worker.actor)
    with pytest.raises(LostError) as lost:
        wait(call, "a call that hangs", PATIENCE_S)
    reason = "The actor is dead because it was killed by `ray.kill`."
    assert str(lost.value) == f"the process died that was to do: a call that hangs ({reason})"


def test_a_worker_whose_process_ends_is_an_error_of_one_line(worker: RayProcess):
    with pytest.raises(LostError) as lost:
        wait(worker.call("exit"), "the impossible", PATIENCE_S)
    message = str(lost.value)
    assert message.startswith("the process died that was to do: the impossible (The actor is dead because its worker")
    assert "\n" not in message
    assert len(message) < 300


def test_a_worker_that_cannot_start_says_why(processes: RayProcesses):
    never = processes.start("never", NeverStarts, placement=Placement(threads=1))
    with pytest.raises(ClusterError) as lost:
        wait(never.call("name"), "it to start", PATIENCE_S)
    expected = "the process died that was to do: it to start (IndexError: tuple index out of range)"
    assert str(lost.value) == expected
    assert not isinstance(lost.value, LostError)  # started again it would fail again


def test_a_call_whose_argument_died_with_another_process_is_lost_not_a_bug(worker: RayProcess, processes: RayProcesses):
    other = start(processes, "other")
    wait(other.call("name"), "it to start", PATIENCE_S)
    argument = other.call("hang")
    call = worker.call("reject", argument)
    ray.kill(other.actor)
    with pytest.raises(LostError, match=r"^the process died that was to do: a refusal \(The actor is dead because"):
        wait(call, "a refusal", PATIENCE_S)


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("Task was killed due to the node running low on memory."),
        NodeDiedError("its node is gone"),
        WorkerCrashedError(),
        ObjectLostError("00" * 28, None, ""),
        OwnerDiedError("00" * 28, None, ""),
        ActorUnavailableError("it restarts", b"\0" * 16),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_ray_may_lose_is_a_loss_in_one_line(
    monkeypatch: pytest.MonkeyPatch, way_of_waiting: str, error: RayError
):
    def get(reference: object, timeout: float) -> None:
        raise error

    async def never_comes() -> None:
        raise error

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(LostError, match=r"something") as lost:
        wait([never_comes()] if way_of_waiting == "arrival" else None, "something", 1.0)
    assert "\n" not in str(lost.value)


def test_what_a_call_raised_reaches_whoever_waits_for_one_that_was_to_use_its_value(worker: RayProcess):
    with pytest.raises(DamagedExperienceError) as raised:
        wait(worker.call("reject", worker.call("find_damage")), "a refusal", PATIENCE_S)
    assert raised.value.damage == DAMAGE


def test_only_those_that_died_or_hang_are_found_lost_and_can_be_replaced(processes: RayProcesses):
    workers = [start(processes, name) for name in ("well", "dead", "stuck")]
    assert processes.find_lost(workers, PATIENCE_S) == []
    ray.kill(workers[1].actor)
    while True:  # until it has died: it still answers for a moment
        try:
            wait(workers[1].call("name"), "its name", PATIENCE_S)
        except LostError:
            break
    workers[2].call("hang")
    lost = processes.find_lost(workers, 2.0)
    assert [worker.name for worker in lost] == ["dead", "stuck"]
    for worker in lost:
        worker.replace()
    assert wait([worker.call("name") for worker in workers], "their names", PATIENCE_S) == ["well", "dead", "stuck"]
    for worker in workers:
        ray.kill(worker.actor)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_signal_ends_a_wait(worker: RayProcess, number: signal.Signals, code: int):
    def wait_for_ever() -> None:
        with StopSignals():
            Timer(1.0, os.kill, (os.getpid(), number)).start()
            wait(worker.call("hang"), "a call that hangs", PATIENCE_S)

    wait(worker.call("name"), "it to start", PATIENCE_S)
    with pytest.raises(Stopped) as stopped:
        wait_for_ever()
    assert stopped.value.exit_code == code


def test_what_a_call_raises_is_raised_as_it_was(worker: RayProcess):
    with pytest.raises(ValueError, match=r"^found 3, expected 4$") as raised:
        wait(worker.call("reject", 3), "a refusal", PATIENCE_S)
    assert type(raised.value) is ValueError
    assert "reject" in str(raised.value.__cause__)  # for a bug: the traceback within the worker


def test_what_a_call_raises_keeps_its_attributes(worker: RayProcess):
    with pytest.raises(DamagedExperienceError) as raised:
        wait([worker.call("name"), worker.call("find_damage")], "experience", PATIENCE_S)
    assert raised.value.damage == DAMAGE
    assert str(raised.value) == str(DAMAGE)


def test_a_worker_that_raised_is_alive(worker: RayProcess):
    with pytest.raises(ValueError, match="found 3"):
        wait(worker.call("reject", 3), "a refusal", PATIENCE_S)
    assert wait(worker.call("name"), "its name", PATIENCE_S) == "w"
