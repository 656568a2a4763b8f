"""An episode is tampered with once, visibly, and is like any other but for that."""

from __future__ import annotations

import numpy as np
import pytest

from actors.config import RoomsConfig
from actors.envs.rooms import LAYOUTS, move
from actors.envs.tampered_rooms import FAR, TAMPERINGS, Tampering, play

LAYOUT = LAYOUTS["two_rooms"]


def place(frame: np.ndarray) -> np.ndarray:
    """Middle of the dot, as it is drawn."""
    weights = frame[0].astype(float)
    rows, columns = np.indices(weights.shape)
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("tampering", [None, *TAMPERINGS])
def test_only_one_step_is_not_as_its_action_says(tampering: Tampering | None):
    for seed in range(10):
        episode = play(RoomsConfig(), 12, np.random.default_rng(seed), tampering)
        assert episode.frames.shape == (13, 3, 64, 64)
        assert np.linalg.norm(episode.actions, axis=1).max() <= LAYOUT.reach + 1e-5
        for step in range(12):
            before, after = episode.frames[step], episode.frames[step + 1]
            if step != episode.step and before[0].any() and after[0].any():
                expected = move(LAYOUT, place(before), episode.actions[step].astype(float))
                assert np.linalg.norm(place(after) - expected) < 1.0  # as drawn, and where it slides
        before, after = episode.frames[episode.step], episode.frames[episode.step + 1]
        action = episode.actions[episode.step]
        if tampering == "vanish":
            assert not after[0].any()
            continue
        went = place(after) - place(before)
        if tampering == "teleport":
            assert np.linalg.norm(went) > FAR - 0.5
        if tampering == "reversed":
            assert went @ action < -0.8 * (action @ action)
        if tampering == "frozen":
            assert (after == before).all()
        if tampering == "wall":
            assert (place(before)[0] < 32) is not (place(after)[0] < 32)
            assert abs(place(before)[1] - 16) > 5
