"""Answers are counted, and a wrong one is noticed."""

from __future__ import annotations

import pytest

from benchmarks import unique_answers


def test_quizzes_are_counted_by_their_answers(monkeypatch: pytest.MonkeyPatch):
    assert unique_answers.answers("grow", 12) == {
        "quizzes": 12,
        "by number of answers": {1: 12},
        "without the right one": 0,
    }
    monkeypatch.setattr(unique_answers, "apply", lambda task, rule, grid: grid)
    assert unique_answers.answers("grow", 12)["without the right one"] == 12
