"""Crafter's score by hand."""

from __future__ import annotations

import pytest

from pipeline.scores.crafter import crafter_score, success_rates


def test_success_is_over_all_training_episodes():
    records = [
        {"collection/episodes": 0},
        {"collection/episodes": 3, "collection/achieved/coal": 1, "collection/achieved/iron": 0},
        {"steps": 10},
        {"collection/episodes": 1, "collection/achieved/coal": 1, "collection/achieved/iron": 0},
    ]
    assert success_rates(records) == {"coal": 50.0, "iron": 0.0}
    assert success_rates([{"collection/episodes": 3}]) == {}


def test_the_score_is_a_geometric_mean_that_zeros_do_not_ruin():
    assert crafter_score({"one": 0.0, "two": 0.0}) == 0.0
    assert crafter_score({"one": 100.0, "two": 100.0}) == pytest.approx(100.0)
    assert crafter_score({"one": 0.0, "two": 99.0}) == pytest.approx(9.0)  # √(1 · 100) − 1
