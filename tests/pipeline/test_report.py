"""From directories and files to a table and its numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import report
from pipeline.scores.published import load
from tests.pipeline.scores.test_results import write_csv, write_run


def test_a_report_of_runs_and_others_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs, out = tmp_path / "runs", tmp_path / "out"
    pong = load().references["Pong"]
    write_run(runs, "Pong", 0, pong.human)
    write_run(runs, "Pong", 1, pong.random)
    write_run(runs, "catch", 0, 0.5)
    (write_run(runs, "Boxing", 3) / "scores.json").unlink()
    lines = [f"iris again,{game},0,{score}" for game, score in load().scores["iris"].items()]
    others = write_csv(tmp_path / "others.csv", *lines)
    assert report.main([str(runs), "--out", str(out), "--scores", str(others)]) == 0

    content = json.loads((out / "aggregates.json").read_text())
    assert content["aggregates"]["p"]["mean"]["value"] == 0.5
    assert content["aggregates"]["p"]["mean"]["low"] == 0.0
    assert content["aggregates"]["iris again"]["mean"]["value"] == pytest.approx(1.046, abs=0.0005)
    assert content["aggregates"]["iris again"]["superhuman"] == 10
    printed = capsys.readouterr().out
    assert f"note: left out, not finished: {runs / 'Boxing-3'}" in printed
    assert "note: p: not in the aggregates, no human score is known: catch" in printed
    assert "note: p: 25 of 26 games missing: Alien, " in printed
    assert "note: p: 2 runs of some game: intervals are wide" in printed

    rows = (out / "scores.csv").read_text().splitlines()
    assert rows[0] == "algorithm,game,seed,score"
    assert f"p,Pong,0,{pong.human}" in rows
    assert len(rows) == 1 + 26 + 3
    table = (out / "table.md").read_text()
    assert "200 steps, 3 episodes" in table  # the protocol, beside the aggregates
    (line,) = [line for line in table.splitlines() if line.startswith("| Pong |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["-3.0 (2)", "14.6 (1)", "-20.7", "14.6"]


def test_a_report_reads_what_another_one_wrote(tmp_path: Path):
    write_run(tmp_path / "runs", "Pong", 0, 1.0 / 3.0)
    assert report.main([str(tmp_path / "runs"), "--out", str(tmp_path / "one")]) == 0
    written = tmp_path / "one" / "scores.csv"
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(written.read_text().replace("p,Pong", "again,Pong"))
    assert report.main([str(tmp_path / "runs"), "--out", str(tmp_path / "two"), "--scores", str(renamed)]) == 0
    found = json.loads((tmp_path / "two" / "aggregates.json").read_text())["aggregates"]
    assert found["again"] == found["p"]
