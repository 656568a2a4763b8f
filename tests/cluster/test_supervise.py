"""Every wait ends: with the value, with what the call raised, or with a line about what was awaited."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from threading import Timer

import pytest
import ray
from ray.actor import ActorHandle

from actors.replay.damage import DamagedSegmentError
from cluster.errors import ClusterError
from cluster.spawn import Placement, spawn
from cluster.supervise import wait
from pipeline.stop import Stopped, StopSignals
from tests.cluster.fakes import DAMAGE, NeverStarts, Worker

pytestmark = pytest.mark.ray
PATIENCE_S = 120


@pytest.fixture
def worker(placement: Placement) -> Iterator[ActorHandle]:
    worker = spawn(Worker, "w", placement=placement)
    yield worker
    ray.kill(worker)


def test_the_value_of_a_call_comes_back(worker: ActorHandle):
    assert wait(worker.name.remote(), "its name", PATIENCE_S) == "w"


def test_a_list_of_calls_gives_a_list_in_their_order(worker: ActorHandle, placement: Placement):
    other = spawn(Worker, "other", placement=placement)
    assert wait([other.name.remote(), worker.name.remote()], "their names", PATIENCE_S) == ["other", "w"]
    ray.kill(other)


def test_a_wait_for_something_that_never_comes_ends_and_says_what_it_was(worker: ActorHandle):
    wait(worker.name.remote(), "it to start", PATIENCE_S)
    start = time.monotonic()
    with pytest.raises(ClusterError) as lost:
        wait(worker.hang.remote(), "a call that hangs", 0.6)
    assert time.monotonic() - start < 20
    assert str(lost.value) == "waited 0.6 s for a call that hangs in vain"


def test_a_worker_that_is_killed_is_an_error_that_says_what_it_was_doing(worker: ActorHandle):
    wait(worker.name.remote(), "it to start", PATIENCE_S)
    call = worker.hang.remote()
    ray.kill(worker)
    with pytest.raises(ClusterError) as lost:
        wait(call, "a call that hangs", PATIENCE_S)
    reason = "The actor is dead because it was killed by `ray.kill`."
    assert str(lost.value) == f"the process died that was to do: a call that hangs ({reason})"


def test_a_worker_whose_process_ends_is_an_error_of_one_line(worker: ActorHandle):
    with pytest.raises(ClusterError) as lost:
        wait(worker.exit.remote(), "the impossible", PATIENCE_S)
    message = str(lost.value)
    assert message.startswith("the process died that was to do: the impossible (The actor is dead because its worker")
    assert "\n" not in message
    assert len(message) < 300


def test_a_worker_that_cannot_start_says_why(placement: Placement):
    with pytest.raises(ClusterError) as lost:
        wait(spawn(NeverStarts, placement=placement).name.remote(), "it to start", PATIENCE_S)
    expected = "the process died that was to do: it to start (IndexError: tuple index out of range)"
    assert str(lost.value) == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_signal_ends_a_wait(worker: ActorHandle, number: signal.Signals, code: int):
    def wait_for_ever() -> None:
        with StopSignals():
            Timer(1.0, os.kill, (os.getpid(), number)).start()
            wait(worker.hang.remote(), "a call that hangs", PATIENCE_S)

    wait(worker.name.remote(), "it to start", PATIENCE_S)
    with pytest.raises(Stopped) as stopped:
        wait_for_ever()
    assert stopped.value.exit_code == code


def test_what_a_call_raises_is_raised_as_it_was(worker: ActorHandle):
    with pytest.raises(ValueError, match=r"^found 3, expected 4$") as raised:
        wait(worker.reject.remote(3), "a refusal", PATIENCE_S)
    assert type(raised.value) is ValueError
    assert "reject" in str(raised.value.__cause__)  # for a bug: the traceback within the worker


def test_what_a_call_raises_keeps_its_attributes(worker: ActorHandle):
    with pytest.raises(DamagedSegmentError) as raised:
        wait([worker.name.remote(), worker.find_damage.remote()], "experience", PATIENCE_S)
    assert raised.value.damage == DAMAGE
    assert str(raised.value) == str(DAMAGE)


def test_a_worker_that_raised_is_alive(worker: ActorHandle):
    with pytest.raises(ValueError, match="found 3"):
        wait(worker.reject.remote(3), "a refusal", PATIENCE_S)
    assert wait(worker.name.remote(), "its name", PATIENCE_S) == "w"
