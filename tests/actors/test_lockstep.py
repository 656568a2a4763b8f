from typing import Any

import numpy as np
import pytest

from actors.envs.state import pack, unpack
from actors.envs.together import InThisProcess
from actors.lockstep import _FIELDS, Lockstep
from learners.action_space import Discrete
from tests.actors.fakes import Countdown


def lockstep_of(*lengths: tuple[int, ...], history: int = 3) -> Lockstep:
    return Lockstep(InThisProcess(Countdown(index, each) for index, each in enumerate(lengths)), Discrete(9), history)


def filled(frames: np.ndarray) -> list:
    return frames[..., 0, 0, 0].tolist()


def test_an_environment_that_ended_waits_for_the_others():
    lockstep = lockstep_of((1, 9), (2, 9))
    lockstep.reset()
    lockstep.step({0: 0, 1: 0})
    assert lockstep.running.tolist() == [False, True]
    lockstep.step({1: 0})
    assert not lockstep.running.any()
    lockstep.reset()
    assert lockstep.running.tolist() == [True, True]
    assert filled(lockstep.frames) == [10, 60]


def test_recent_steps_are_those_before_the_current_frame_of_the_running_episode():
    lockstep = lockstep_of((9,), (9,))
    lockstep.reset()
    for action in (5, 6):
        lockstep.step({0: action})
    frames, actions, mask = lockstep.recent()
    assert filled(lockstep.frames) == [2, 50]
    assert filled(frames) == [[0, 0, 1], [0, 0, 0]]
    assert actions.tolist() == [[0, 5, 6], [0, 0, 0]]
    assert mask.tolist() == [[False, True, True], [False, False, False]]
    for _ in range(3):
        lockstep.step({0: 0})
    assert filled(lockstep.recent()[0])[0] == [2, 3, 4]


def test_an_ended_episode_has_no_recent_frames():
    lockstep = lockstep_of((2, 5))
    lockstep.reset()
    for _ in range(2):
        lockstep.step({0: 0})
    assert not lockstep.recent()[2].any()
    lockstep.reset()
    assert not lockstep.recent()[2].any()


def test_a_restored_state_is_the_same_and_goes_on_the_same():
    first, second = lockstep_of((3, 4), (2, 4)), lockstep_of((3, 4), (2, 4))
    first.reset()
    first.step({0: 7, 1: 8})
    second.set_state(first.get_state())
    for index in (0, 1, 0):
        first.step({index: 0})
        second.step({index: 0})
    first.reset()
    second.reset()
    assert filled(second.frames) == filled(first.frames) == [10, 60]
    assert second.get_state() == first.get_state()


def test_a_state_of_other_environments_is_refused():
    state = lockstep_of((3,), (3,)).get_state()
    with pytest.raises(ValueError, match="environment_1"):
        lockstep_of((3,)).set_state(state)
    with pytest.raises(ValueError, match=r"damaged|malformed"):
        lockstep_of((3,), (3,)).set_state(state[:-9] + b"x" + state[-8:])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("lengths", ["1"], r"found lengths \['1'\], expected 1 numbers of steps"),
        ("lengths", [-1], "found lengths"),
        ("lengths", [4], "found lengths"),  # more than it remembers
        ("lengths", [0, 0], "found lengths"),
        ("lengths", [True], "found lengths"),
        ("lengths", [0], r"found frames uint8 \(3, 3, 64, 64\), expected uint8 \(1, 3, 64, 64\)"),
        ("running", np.zeros(1), r"found running float64 \(1,\), expected bool \(1,\)"),
        ("episode_steps", np.zeros((1, 1), np.int32), "found episode_steps int32"),
        ("actions", np.zeros(2), "found actions float64"),
        ("actions", np.array([0, 9], np.int32), r"unknown action: found 9, expected 0\.\.8"),
    ],
)
def test_a_forged_state_is_refused_in_one_line(field: str, value: Any, words: str):
    lockstep = lockstep_of((9,))
    lockstep.reset()
    for _ in range(2):
        lockstep.step({0: 1})
    fields = unpack("lockstep", lockstep.get_state(), {**_FIELDS, "environment_0": bytes})
    with pytest.raises(ValueError, match=words):
        lockstep_of((9,)).set_state(pack("lockstep", {**fields, field: value}))
    lockstep_of((9,)).set_state(pack("lockstep", fields))
