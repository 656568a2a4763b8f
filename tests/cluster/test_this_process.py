"""Processes that are objects here keep the promises of real ones: threads, references, errors, replacement, stops."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any, ClassVar

import pytest
import torch

from actors.damage import DamagedExperienceError
from cluster import this_process
from cluster.config import ClusterConfig
from cluster.errors import ClusterError
from cluster.open import open_processes
from cluster.process import Placement, num_cores
from cluster.this_process import ThisProcess, prepare
from pipeline import schedule
from pipeline.stop import Stopped, StopSignals
from tests.cluster.fakes import DAMAGE, NeverStarts, Worker

PLACE = Placement(threads=1)


class Counter:
    def __init__(self, start: int) -> None:
        if start < 0:
            raise ValueError(f"found {start}, expected 0 or more")
        self._count = start

    def add(self, amount: int, *, times: int = 1) -> int:
        self._count += amount * times
        return self._count

    def pair(self) -> tuple[int, int]:
        return self._count, -self._count

    def threads(self) -> int:
        return torch.get_num_threads()

    def stop_and_add(self) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return self.add(1)


def come(references: Any) -> Any:
    return asyncio.run(ThisProcess().arrival(references, "something", 1.0))


def test_a_call_is_done_when_it_returns_and_its_reference_can_be_handed_on():
    first, second = (ThisProcess().start("counter", Counter, start, placement=PLACE) for start in (0, 10))
    one = first.call("add", 1)
    two = second.call("add", one, times=ThisProcess().put(3))
    assert come([one, two]) == [1, 13]
    plus, minus = first.call("pair", num_returns=2)
    assert (come(plus), come(minus)) == (1, -1)


def test_what_a_call_raises_is_raised_where_somebody_waits_and_where_its_value_is_used():
    worker = ThisProcess().start("worker", Worker, placement=PLACE)
    failed = worker.call("find_damage")
    used = worker.call("reject", failed)
    for reference in (failed, used, [worker.call("name"), used]):
        with pytest.raises(DamagedExperienceError) as raised:
            come(reference)
        assert raised.value.damage == DAMAGE
    assert all(part.error for part in worker.call("reject", 3, num_returns=2))


def test_one_that_is_replaced_knows_nothing_of_what_was():
    counter = ThisProcess().start("counter", Counter, 5, placement=PLACE)
    counter.call("add", 1)
    counter.replace()
    assert come(counter.call("add", 1)) == 6


class Holder:
    """Holds something that only one can hold at a time, as the replay store does its lock."""

    held: ClassVar[bool] = False

    def __init__(self) -> None:
        assert not Holder.held
        Holder.held = True

    def close(self) -> None:
        Holder.held = False


def test_what_one_holds_is_let_go_before_it_is_replaced_and_in_the_end():
    with open_processes(ClusterConfig(), in_process=True) as processes:
        processes.start("holder", Holder, placement=PLACE).replace()
        assert Holder.held
    assert not Holder.held


def test_one_that_cannot_start_says_why():
    with pytest.raises(ClusterError, match=r"^the worker cannot start: tuple index out of range$"):
        ThisProcess().start("worker", NeverStarts, placement=PLACE)
    with pytest.raises(ClusterError, match=r"^the counter cannot start: found -1, expected 0 or more$"):
        ThisProcess().start("counter", Counter, -1, placement=PLACE)


def test_each_has_its_threads_for_as_long_as_its_call_lasts():
    before = torch.get_num_threads()
    for threads in (1, 3):
        process = ThisProcess().start("counter", Counter, 0, placement=Placement(threads=threads))
        assert come(process.call("threads")) == threads
        assert torch.get_num_threads() == before


def test_a_stop_waits_until_the_call_is_done():
    with StopSignals() as stop:
        counter = ThisProcess(stop.deferred).start("counter", Counter, 0, placement=PLACE)
        with pytest.raises(Stopped):
            counter.call("stop_and_add")
    assert counter._instance.add(0) == 1


def test_a_stop_in_a_call_within_something_deferred_waits_for_that():
    done = []

    def stop_within(stop: StopSignals) -> None:
        with stop.deferred():
            done.append(come(counter.call("stop_and_add")))

    with StopSignals() as stop:
        counter = ThisProcess(stop.deferred).start("counter", Counter, 0, placement=PLACE)
        with pytest.raises(Stopped):
            stop_within(stop)
    assert done == [1]


def test_this_process_gets_the_environment_of_one_that_computes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(this_process, "_was_in_time", None)
    assert not prepare(threads=3)  # torch is loaded here
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("3", "passive")
    code = (
        "from cluster.this_process import prepare; prepare(2); import torch; print(prepare(1), torch.get_num_threads())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True 2\n"


def test_it_is_a_cluster_of_one_node():
    (node,) = ThisProcess().nodes()
    assert node["CPU"] == num_cores()


def test_a_run_in_this_process_needs_no_ray():
    code = "import sys, tests.faults.local, pipeline.train, pipeline.evaluate; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_program_runs_where_a_loop_runs_already():
    """As in a notebook."""
    seen = []

    async def program() -> None:
        seen.append(await ThisProcess().arrival(ThisProcess().put(3), "three", 1.0))

    async def cell() -> None:
        schedule.run(program())

    asyncio.run(cell())
    schedule.run(program())
    assert seen == [3, 3]
