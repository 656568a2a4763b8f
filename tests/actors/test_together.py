"""Environments in processes of their own: the same results, and nothing that outlives its collector."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from actors.config import CatchConfig, GymConfig
from actors.envs.together import Environments, EnvironmentsLostError, InProcesses, InThisProcess

CATCH = CatchConfig()
KEYS = (3, 1, 4, 1, 5)
HANG_S = 60.0


def own() -> InThisProcess:
    return InThisProcess(map(CATCH.build, KEYS))


def ask(environments: Environments, method: str, indices: Sequence[int] = range(len(KEYS)), *args: object) -> dict:
    return environments.call(method, {index: args for index in indices})


def play(environments: Environments, actions: Sequence[int]) -> list[tuple]:
    """Steps of three of them, in an order of their own."""
    steps = [step for action in actions for step in ask(environments, "step", (4, 0, 2), action).items()]
    return [(index, step.frame.tobytes(), step.reward, step.terminated) for index, step in steps]


def pids(environments: InProcesses) -> list[int]:
    return [each._process.pid for each in environments._processes]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_end(*processes: int) -> None:
    deadline = time.monotonic() + HANG_S
    while any(map(is_running, processes)):
        assert time.monotonic() < deadline, "a process outlived its collector"
        time.sleep(0.02)


@pytest.mark.parametrize("num_processes", [1, 2, 9])
def test_processes_change_no_result(num_processes: int):
    here, there = own(), InProcesses(CATCH, KEYS, num_processes)
    for index, frame in ask(here, "reset").items():
        np.testing.assert_array_equal(ask(there, "reset", [index])[index], frame)
    assert len(set(pids(there))) == min(num_processes, len(KEYS))
    assert play(there, [0, 2, 1]) == play(here, [0, 2, 1])
    assert list(ask(there, "get_state", (3, 1))) == [3, 1]
    assert ask(there, "get_state") == ask(here, "get_state")


def test_what_an_environment_raises_is_raised_here_and_harms_no_other():
    there = InProcesses(CATCH, KEYS, 2)
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        ask(there, "step", (0, 1), 0)
    frames = ask(there, "reset")
    with pytest.raises(ValueError, match=r"unknown action: found 7, expected 0\.\.2") as raised:
        there.call("step", {0: (0,), 1: (7,), 2: (0,)})
    assert "actors/envs/catch.py" in "".join(raised.value.__notes__)
    with pytest.raises(RuntimeError, match=r"AttributeError: .*no_such_method"):
        ask(there, "no_such_method")
    assert len(ask(there, "reset")) == len(frames)


def test_an_environment_that_cannot_be_built_is_no_lost_process():
    there = InProcesses(GymConfig(id="NoSuchGame-v0"), KEYS, 2)
    with pytest.raises(ValueError, match="NoSuchGame"):
        ask(there, "reset")


def test_a_lost_process_is_an_error_from_which_a_state_brings_everything_back():
    here, there = own(), InProcesses(CATCH, KEYS, 2)
    ask(here, "reset")
    states = ask(here, "get_state")
    ask(there, "reset")
    first = pids(there)
    os.kill(first[1], signal.SIGKILL)
    with pytest.raises(EnvironmentsLostError, match="a process that steps environments is lost"):
        ask(there, "step", range(5), 0)
    await_end(*first)
    there.call("set_state", {index: (state,) for index, state in states.items()})
    assert not set(pids(there)) & set(first)
    assert play(there, [0, 1]) == play(here, [0, 1])


def test_processes_end_with_the_last_reference_to_them():
    there = InProcesses(CATCH, KEYS, 2)
    ask(there, "reset")
    started = pids(there)
    del there
    assert not any(map(is_running, started))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(how: signal.Signals):
    program = (
        "import time\n"
        "from tests.actors.test_together import *\n"
        "there = InProcesses(CATCH, KEYS, 2)\n"
        "ask(there, 'reset')\n"
        "print(*pids(there), flush=True)\n"
        "time.sleep(600)\n"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert victim.stdout is not None
    started = [int(pid) for pid in victim.stdout.readline().split()]
    assert len(started) == 2
    victim.send_signal(how)
    _, errors = victim.communicate(timeout=HANG_S)
    assert errors.count("Traceback") == (how == signal.SIGINT)
    await_end(*started)
