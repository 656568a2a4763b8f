from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.planning import ARMS
from benchmarks.planning_picture import SLIP_ARMS, WAYS, main, slips, successes

ROWS = Path(__file__).parents[2] / "benchmarks" / "results" / "planning.json"


def test_it_asks_for_arms_and_ways_that_there_are():
    rows = json.loads(ROWS.read_text())["rows"]
    known = {(row["arm"], way["name"]) for row in rows for way in row.get("ways", ())}
    for title, ways in WAYS.items():
        for label, (arm, name) in ways.items():
            assert arm in ARMS, (title, label)
            if arm in {each for each, _ in known}:
                assert (arm, name) in known, (title, label)
    assert set(SLIP_ARMS.values()) <= set(ARMS)


def test_a_bar_has_a_value_of_each_seed_and_what_was_not_measured_none():
    rows = [{"arm": "critic", "ways": [{"name": "a", "score_mean": score}]} for score in (0.25, 0.75)]
    assert successes(rows, {"one": ("critic", "a"), "two": ("critic", "b")}) == {"one": [0.25, 0.75]}


def test_shares_are_means_over_seeds():
    rows = [{"arm": "slip", "outcomes": shares} for shares in ([0.2, 0.7, 0.1], [0.4, 0.5, 0.1])]
    found = slips(rows)
    assert list(found) == ["true", "four codes"]
    assert found["four codes"] == pytest.approx([0.3, 0.6, 0.1])


def test_the_picture_is_drawn_from_the_committed_rows(tmp_path: Path):
    main([str(ROWS), "--out", str(tmp_path / "pieces.png")])
    assert Image.open(tmp_path / "pieces.png").size[0] > 500
