"""Aggregates by hand, and intervals that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.scores import aggregates
from pipeline.scores.aggregates import (
    AGGREGATES,
    Reference,
    estimate,
    human_normalised,
    performance_profile,
    probability_of_improvement,
)

RUNS = {
    "Pong": np.array([0.0, 1.0]),
    "Boxing": np.array([0.5, 0.5]),
    "Krull": np.array([2.0, 4.0]),
    "Breakout": np.array([1.0, 1.0]),
}


def test_random_play_is_zero_and_a_human_one_also_where_scores_are_negative():
    pong = Reference(random=-20.7, human=14.6)
    assert human_normalised([-20.7, 14.6, 32.25], pong) == pytest.approx([0.0, 1.0, 1.5])


def test_aggregates_by_hand():
    # Means of the games: 0.5, 0.5, 3, 1. All runs: 0, 0.5, 0.5, 1, 1, 1, 2, 4; the middle half: 0.5, 1, 1, 1.
    found = {name: estimate(RUNS, statistic).value for name, statistic in AGGREGATES.items()}
    assert found == {"mean": 1.25, "median": 0.75, "interquartile mean": 0.875, "optimality gap": 0.25}
    assert aggregates.superhuman(RUNS.values()) == (2, 1)


def test_an_interquartile_mean_cuts_off_whole_runs():
    runs = {"Pong": np.array([0.0, 1.0, 2.0, 3.0, 100.0])}  # of five, one at either end
    assert estimate(runs, aggregates.interquartile_mean).value == 2.0


def test_resamples_stay_within_their_game():
    rng = np.random.default_rng(0)
    pong, boxing, krull, _ = aggregates.resampled(RUNS, 500, rng)
    assert pong.shape == (500, 2)
    assert set(np.unique(pong)) == {0.0, 1.0}
    assert set(np.unique(boxing)) == {0.5}
    assert {tuple(each) for each in krull} == {(2.0, 2.0), (2.0, 4.0), (4.0, 2.0), (4.0, 4.0)}


def test_an_interval_is_of_one_seed_and_holds_its_value():
    assert estimate(RUNS, aggregates.mean, seed=3) == estimate(RUNS, aggregates.mean, seed=3)
    found = estimate(RUNS, aggregates.mean)
    # Pong and Krull alone vary: 0, 0.5, 1 and 2, 3, 4 with weights 1, 2, 1, so the mean is 0.875 … 1.625.
    assert found == (1.25, (0.875, 1.625))


def test_where_a_game_has_one_run_nothing_has_an_interval():
    alone = {game: scores[: 1 + (game != "Pong")] for game, scores in RUNS.items()}
    assert estimate(alone, aggregates.mean) == (1.125, None)
    assert performance_profile(alone, np.array([0.5])).interval is None
    assert probability_of_improvement(RUNS, RUNS).interval is not None
    assert probability_of_improvement(alone, RUNS).interval is None
    assert probability_of_improvement(RUNS, alone).interval is None


@pytest.mark.parametrize(
    ("games", "num_runs", "least", "most"), [(6, 10, 0.88, 0.98), (26, 5, 0.83, 0.94), (26, 2, 0.72, 0.88)]
)
def test_an_interval_covers_the_truth_about_as_often_as_it_says_unless_runs_are_few(
    games: int, num_runs: int, least: float, most: float
):
    """Nominally 95 per cent. Of 2 000 experiments: 93 with 10 runs of 6 games, 92 with 5 of 26, 83 with 2 of 26."""
    rng, covered = np.random.default_rng(0), 0
    for experiment in range(300):
        runs = {str(game): rng.normal(game, 1.0, size=num_runs) for game in range(games)}
        found = estimate(runs, aggregates.mean, resamples=500, seed=experiment)
        assert found.interval
        low, high = found.interval
        covered += low <= (games - 1) / 2 <= high
    assert least <= covered / 300 <= most


def test_a_profile_counts_what_is_above_each_threshold():
    value, interval = performance_profile(RUNS, np.array([-1.0, 0.0, 0.5, 1.0, 3.0, 4.0]))
    assert interval
    low, high = interval
    assert value.tolist() == [1.0, 7 / 8, 5 / 8, 2 / 8, 1 / 8, 0.0]
    assert (low <= value).all()
    assert (value <= high).all()
    assert (np.diff(value) <= 0).all()


def test_improvement_is_the_share_of_pairs_won():
    theirs = {"Pong": np.array([0.5, 0.5]), "Krull": np.array([2.0]), "Gopher": np.array([9.0])}
    # Pong: half of the pairs; Krull: one tie and one win of two, 0.75.
    assert probability_of_improvement(RUNS, theirs).value == pytest.approx((0.5 + 0.75) / 2)
    assert probability_of_improvement(RUNS, RUNS).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="found no game that both played"):
        probability_of_improvement(RUNS, {"Gopher": np.array([1.0])})
