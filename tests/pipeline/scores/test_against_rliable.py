"""The same numbers as rliable (Agarwal et al. 2021), the reference implementation: values exactly, intervals nearly.

A bootstrap interval of R resamples is itself random; two of them agree to a part of their width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rliable import library, metrics

from pipeline.scores import aggregates
from pipeline.scores.aggregates import AGGREGATES, estimate, performance_profile, probability_of_improvement

pytestmark = pytest.mark.filterwarnings("ignore:random_state is deprecated")  # rliable to its own dependency

RESAMPLES = 1_000
OURS = 20_000
TOLERANCE = 0.15
"""Of an interval's width: with 1 000 resamples an end of it has a standard error of 0.023 to 0.03 of the width."""
RLIABLE = {
    "interquartile mean": metrics.aggregate_iqm,
    "median": metrics.aggregate_median,
    "mean": metrics.aggregate_mean,
    "optimality gap": metrics.aggregate_optimality_gap,
}


def scores(seed: int, runs: int = 5, games: int = 26) -> np.ndarray:
    """(runs, games), with the long tail of human-normalised scores."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(-0.5, 1.0, size=games) + rng.normal(0.0, 0.4, size=(runs, games)))


def by_game(matrix: np.ndarray) -> aggregates.Runs:
    return {str(game): matrix[:, game] for game in range(matrix.shape[1])}


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates(name: str):
    for runs, games in ((5, 26), (3, 5), (3, 7), (1, 26), (4, 1)):
        matrix = scores(runs * games, runs, games)
        found = estimate(by_game(matrix), AGGREGATES[name], resamples=1).value
        assert found == pytest.approx(RLIABLE[name](matrix), abs=1e-9)


@pytest.mark.parametrize("name", AGGREGATES)
def test_intervals(name: str):
    matrix = scores(0)
    found = estimate(by_game(matrix), AGGREGATES[name], resamples=OURS)
    _, intervals = library.get_interval_estimates(
        {"ours": matrix}, lambda x: np.array([RLIABLE[name](x)]), reps=RESAMPLES, random_state=np.random.RandomState(0)
    )
    low, high = intervals["ours"][:, 0]
    assert found.interval == pytest.approx((low, high), abs=TOLERANCE * (high - low))


def test_performance_profiles():
    matrix, thresholds = scores(1), np.array([0.0, 0.3, 0.6, 1.0, 2.0, 5.0])
    value, interval = performance_profile(by_game(matrix), thresholds, resamples=OURS)
    runs: Any = {"ours": matrix}
    profiles, intervals = library.create_performance_profile(runs, thresholds, reps=RESAMPLES)
    assert value == pytest.approx(profiles["ours"], abs=1e-9)
    width = intervals["ours"][1] - intervals["ours"][0]
    step = 1.0 / matrix.size  # a share is a whole number of runs × games
    assert interval
    for ours, theirs in zip(interval, intervals["ours"], strict=True):
        assert (np.abs(ours - theirs) <= TOLERANCE * width + step).all()


def test_probability_of_improvement():
    one, two = scores(2), scores(3, runs=3)
    two[0] = one[0]  # ties
    found = probability_of_improvement(by_game(one), by_game(two), resamples=OURS)
    assert found.value == pytest.approx(metrics.probability_of_improvement(one, two), abs=1e-9)
    pairs: Any = {"pair": (one, two)}
    _, intervals = library.get_interval_estimates(
        pairs,
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=100,
        random_state=np.random.RandomState(0),
    )
    low, high = intervals["pair"][:, 0]
    assert found.interval == pytest.approx((low, high), abs=0.3 * (high - low))  # theirs of 100, 16 ms each
