"""Classes to start as processes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.reports import EpisodeScore


class Player:
    """Its scores name what was played; it dies as often as there are files in a directory, each of which it eats."""

    def __init__(self, deaths: str, envs_per_evaluator: int) -> None:
        self._deaths = Path(deaths)
        self._size = envs_per_evaluator

    def play(
        self, iteration: int, batch: int, num_episodes: int, weights: NDArray[np.uint8], *, seed: int
    ) -> tuple[list[EpisodeScore], NDArray[np.uint8]]:
        for death in self._deaths.iterdir():
            with suppress(FileNotFoundError):  # another has eaten it, and died
                death.unlink()
                os._exit(1)
        first = batch * self._size
        score = 1000.0 * seed + first + float(weights[0])
        scores = [EpisodeScore(first + i, score + i, iteration) for i in range(num_episodes)]
        return scores, np.zeros((0, 3, 64, 64), np.uint8)
