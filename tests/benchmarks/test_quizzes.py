"""What is told of societies follows from their metrics and from what they keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import quizzes
from benchmarks.quizzes import ARMS, COLD, HOT, measure, told
from learners.quizzes.culture import Culture
from learners.quizzes.statistics import explaining_tasks
from pipeline.quizzes.config import presets


def test_what_was_before_culture_is_told_from_what_is_at_the_end():
    records = [
        {"iteration": 1, "model 0/world/accuracy": 0.5, "culture/size": 0},
        {"iteration": 2, "model 1/world/accuracy": 0.9, "model 0/world/accuracy": 0.8, "culture/size": 0},
        {
            **{"iteration": 3, "culture/generated": 60, "culture/kept": 6, "culture/size": 6},
            **{"model 0/world/accuracy": 0.7, "model 0/world/accuracy/detect": 0.6, "model 0/loss": 1.5},
            **{"model 0/culture/accuracy of once failed": 0.5, "model 0/culture/once failed": 4},
        },
        {"iteration": 4, "culture/size": 6, "model 0/culture/accuracy of once failed": 0.25, "model 0/loss": 1.0},
    ]
    found = told(records)
    assert (found["rounds"], found["first_culture_in_round"]) == (4, 3)
    assert found["world_before"] == {"model 0/world/accuracy": 0.8, "model 1/world/accuracy": 0.9}
    assert found["at_the_end"] == {
        "model 0/world/accuracy": 0.7,
        "model 0/world/accuracy/detect": 0.6,
        "model 1/world/accuracy": 0.9,
        "model 0/culture/accuracy of once failed": 0.25,
        "model 0/culture/once failed": 4,
    }
    assert found["culture"] == [
        {
            **{"iteration": 3, "culture/generated": 60, "culture/kept": 6, "culture/size": 6},
            "model 0/world/accuracy": 0.7,
            **{"model 0/culture/accuracy of once failed": 0.5, "model 0/culture/once failed": 4},
        }
    ]
    assert told(records[:2])["first_culture_in_round"] is None


def test_a_row_is_a_society_and_its_table_and_what_is_new_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    row = measure("quizzes-debug", "once", 0, tmp_path, ["--in-process", "--rounds", "2"])
    assert row["rounds"] == 2
    assert sum(row["made_up_by"]) == 12
    for name in ("table", "untrained"):
        assert [(each["hot"], each["cold"]) for each in row[name]] == [(hot, cold) for hot in HOT for cold in COLD]
        for each in row[name]:
            assert each["generated"] == 600
            assert sum(each["understood_by"]) == 600 - each["trivial"] - each["duplicate"]
    assert row["table"] != row["untrained"]
    drawn: list[Culture] = []
    monkeypatch.setattr(quizzes, "save_sheet", lambda path, culture: drawn.append(culture))
    quizzes.draw_novel(tmp_path / "once-seed0", tmp_path / "novel.png")
    tasks = presets()["quizzes-debug"][1].society.world.tasks
    assert all(explaining_tasks(tasks, *quiz) == [] for quiz in zip(*drawn[0].quizzes, strict=True))
    assert len(drawn[0]) == round(row["culture"][-1]["culture/novelty"] * 6)


def test_arms_differ_in_what_they_are_named_after():
    society = presets()["quizzes-small"][1].society
    assert society.generation.hot > 1
    assert society.models == int(ARMS["unanimous"][-1])
