"""The aggregates that the source prints follow from the numbers that it prints."""

from __future__ import annotations

import numpy as np
import pytest

from actors.envs.games import ATARI_GAMES
from pipeline.scores.aggregates import (
    Floats,
    human_normalised,
    interquartile_mean,
    mean,
    median,
    superhuman,
)
from pipeline.scores.published import load

PRINTED = {
    "muzero": (0.562, 0.227, 5),
    "efficientzero": (1.943, 1.090, 14),
    "simple": (0.332, 0.134, 1),
    "curl": (0.261, 0.092, 2),
    "drq": (0.465, 0.313, 3),
    "spr": (0.616, 0.396, 6),
    "iris": (1.046, 0.289, 10),
}
"""Mean, median, superhuman games."""
RECOMPUTED = {("drq", "median"): 0.3123}
"""Where the printed inputs are too round for the printed aggregate."""


def normalised(table: str, algorithm: str) -> list[Floats]:
    published = load(table)  # type: ignore[arg-type]
    scores = published.scores[algorithm]
    return [human_normalised([[scores[game]]], reference) for game, reference in published.references.items()]


@pytest.mark.parametrize("algorithm", PRINTED)
def test_26_games(algorithm: str):
    games = normalised("atari100k", algorithm)
    assert len(games) == 26
    printed_mean, printed_median, printed_superhuman = PRINTED[algorithm]
    assert mean(games)[0] == pytest.approx(printed_mean, abs=0.0005)
    expected = RECOMPUTED.get((algorithm, "median"), printed_median)
    assert median(games)[0] == pytest.approx(expected, abs=0.0005 if expected == printed_median else 0.00005)
    assert superhuman(games)[0] == printed_superhuman


def test_pong_at_exactly_one_is_the_tenth_superhuman_game_of_iris():
    games = normalised("atari100k", "iris")
    assert superhuman(games) == (10, 9)
    pong = list(load().references).index("Pong")
    assert games[pong][0, 0] == 1.0


def test_8_games():
    """What the source prints of Δ-IRIS, the interquartile mean among it, follows from its means."""
    published = load("atari100k_8_games")
    assert list(published.scores) == ["simple", "dreamerv3", "storm", "iris", "delta-iris"]
    games = normalised("atari100k_8_games", "delta-iris")
    assert len(games) == 8
    found = [statistic(games)[0] for statistic in (mean, median, interquartile_mean)]
    assert found == pytest.approx([4.24, 2.77, 3.13], abs=0.01)


def test_every_game_is_one_that_can_be_played():
    assert set(load().references) <= set(ATARI_GAMES)
    assert set(load("atari100k_8_games").references) <= set(load().references)
    assert all(np.isfinite(list(scores.values())).all() for scores in load().scores.values())
