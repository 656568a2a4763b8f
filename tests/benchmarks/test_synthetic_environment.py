"""The made-up game keeps the promises of `actors/envs/environment.py`."""

from __future__ import annotations

import numpy as np
import pytest

from actors.envs.environment import Environment
from benchmarks.synthetic_environment import SyntheticConfig


def test_an_episode_ends_with_its_hundredth_step():
    environment: Environment = SyntheticConfig().build(seed=0)
    assert environment.reset().shape == (3, 64, 64)
    ended = [environment.step(action % environment.action_space.count).ended for action in range(100)]
    assert ended == 99 * [False] + [True]
    with pytest.raises(RuntimeError, match="reset"):
        environment.step(0)


def test_the_seed_decides_the_frames():
    first, same, other = (SyntheticConfig().build(seed).reset() for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_restored_state_goes_on_identically():
    environment, restored = SyntheticConfig().build(seed=0), SyntheticConfig().build(seed=1)
    environment.reset()
    environment.step(0)
    restored.set_state(environment.get_state())
    for _ in range(99):
        one, other = environment.step(1), restored.step(2)
        assert np.array_equal(one.frame, other.frame)
        assert one.ended == other.ended


@pytest.mark.parametrize("action", [-1, 6])
def test_an_unknown_action_is_refused(action: int):
    environment = SyntheticConfig().build(seed=0)
    environment.reset()
    with pytest.raises(ValueError, match=r"expected 0\.\.5"):
        environment.step(action)
