"""What is told of societies follows from their metrics and from what they keep."""

from __future__ import annotations

from pathlib import Path

from benchmarks.quizzes import ARMS, COLD, HOT, measure, told
from pipeline.quizzes.config import presets


def test_what_was_before_culture_is_told_from_what_is_at_the_end():
    records = [
        {"iteration": 1, "model 0/world/accuracy": 0.5, "culture/size": 0},
        {"iteration": 2, "model 1/world/accuracy": 0.9, "model 0/world/accuracy": 0.8, "culture/size": 0},
        {"iteration": 3, "culture/generated": 60, "culture/kept": 6, "culture/size": 6, "model 0/world/accuracy": 0.7},
        {"iteration": 4, "culture/size": 6, "model 0/culture/accuracy of once failed": 0.25, "model 0/loss": 1.0},
    ]
    found = told(records)
    assert (found["rounds"], found["first_culture_in_round"]) == (4, 3)
    assert found["world_before"] == {"model 0/world/accuracy": 0.8, "model 1/world/accuracy": 0.9}
    assert found["at_the_end"] == {
        "model 0/world/accuracy": 0.7,
        "model 1/world/accuracy": 0.9,
        "model 0/culture/accuracy of once failed": 0.25,
    }
    assert found["culture"] == [{"iteration": 3, "culture/generated": 60, "culture/kept": 6, "culture/size": 6}]
    assert told(records[:2])["first_culture_in_round"] is None


def test_a_row_is_a_society_and_its_table(tmp_path: Path):
    row = measure("quizzes-debug", "once", 0, tmp_path, ["--in-process", "--rounds", "2"])
    assert row["rounds"] == 2
    assert sum(row["made_up_by"]) == 12
    for name in ("table", "untrained"):
        assert [(each["hot"], each["cold"]) for each in row[name]] == [(hot, cold) for hot in HOT for cold in COLD]
        for each in row[name]:
            assert each["generated"] == 600
            assert sum(each["understood_by"]) == 600 - each["trivial"] - each["duplicate"]
    assert row["table"] != row["untrained"]


def test_arms_differ_in_what_they_are_named_after():
    society = presets()["quizzes-small"][1].society
    assert society.generation.hot > 1
    assert society.models == int(ARMS["unanimous"][-1])
