"""Frames of three moments are those of the same game in colours, in the order of time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.config import AtariConfig
from actors.envs.moments import Moments
from actors.envs.state import pack

CONFIG = AtariConfig(game="Breakout", max_frames=60)


def brightness(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.tensordot([0.299, 0.587, 0.114], frame.astype(np.float64), axes=1)


def test_channels_are_the_brightness_of_the_last_three_steps():
    colours, moments = CONFIG.build(3), CONFIG.model_copy(update={"channels": "moments"}).build(3)
    moved = episodes = 0
    while episodes < 2:
        past = [brightness(colours.reset())] * 3
        assert np.abs(moments.reset() - np.stack(past)).max() <= 1.0
        ended = False
        while not ended:
            expected, found = colours.step(1), moments.step(1)
            past = [*past[1:], brightness(expected.frame)]
            assert np.abs(found.frame - np.stack(past)).max() <= 1.0
            assert (found.reward, found.terminated, found.truncated) == (
                expected.reward,
                expected.terminated,
                expected.truncated,
            )
            moved += bool((found.frame[0] != found.frame[2]).any())
            ended = found.ended
        episodes += 1
    assert moved > 10


def test_a_state_of_other_moments_is_refused_and_changes_nothing():
    environment = Moments(CONFIG.build(0))
    environment.reset()
    before = environment.get_state()
    inner = CONFIG.build(0).get_state()
    with pytest.raises(ValueError, match=r"moments: found uint8 \(2, 64, 64\), expected uint8 \(3, 64, 64\)"):
        environment.set_state(pack("moments", {"environment": inner, "moments": np.zeros((2, 64, 64), np.uint8)}))
    assert environment.get_state() == before
