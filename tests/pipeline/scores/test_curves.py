"""Curves from the evaluations along runs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.scores.aggregates import Reference, interquartile_mean, mean
from pipeline.scores.curves import evaluations, learning_curve, sample_efficiency

SCORE = "evaluation/score_mean"


def test_of_evaluations_after_the_last_step_the_last_counts():
    records = [{"steps": 20}, {"steps": 40, SCORE: 1.0}, {"steps": 60, SCORE: 2.0}, {"steps": 60, SCORE: 3.0}]
    assert evaluations(records) == {40: 1.0, 60: 3.0}


def test_a_curve_is_where_all_runs_were_evaluated():
    curve = learning_curve([{10: 0.0, 20: 1.0, 30: 9.0}, {20: 3.0, 10: 0.0}])
    assert curve.steps == [10, 20]
    assert curve.band.value.tolist() == [0.0, 2.0]
    assert curve.band.interval
    assert [each.tolist() for each in curve.band.interval] == [[0.0, 1.0], [0.0, 3.0]]
    assert learning_curve([{10: 0.0}, {20: 1.0}]).steps == []
    assert learning_curve([{10: 0.0, 20: 1.0}]).band.interval is None


def test_sample_efficiency_is_over_runs_and_games_in_human_normalised_scores():
    references = {"Pong": Reference(-20.0, 0.0), "Boxing": Reference(0.0, 10.0)}
    games = {"Pong": [{100: -20.0, 200: 0.0}, {100: -10.0, 200: 0.0}], "Boxing": [{200: 20.0, 100: 0.0}]}
    curve = sample_efficiency(games, references, mean)
    assert curve.steps == [100, 200]
    assert curve.band.value == pytest.approx(np.array([0.125, 1.5]))
    trimmed = sample_efficiency({**games, "Boxing": [*games["Boxing"]] * 2}, references, interquartile_mean)
    assert trimmed.band.value == pytest.approx(np.array([0.0, 1.5]))  # the middle two of 0, 0.5, 0, 0 and of 1, 1, 2, 2
