"""Results from the directories of runs: which are read, and what is told or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.config import AtariConfig
from pipeline.errors import UsageError
from pipeline.presets import preset
from pipeline.run_dir import RunDirectory
from pipeline.scores.finished_runs import _deviations, read_runs
from tests.pipeline.scores.runs import evaluation, write_run

DEBUG_ATARI = preset("debug-atari")
IRIS_ATARI100K = preset("iris-atari100k")


def test_a_run_given_twice_counts_once(tmp_path: Path):
    run = write_run(tmp_path, "Pong", 0)
    (tmp_path / "link").symlink_to(run)
    assert len(read_runs([tmp_path, run, tmp_path / "link"])[0]) == 1


def test_what_pipeline_evaluate_wrote_of_the_last_commit_counts_more_than_scores_json(tmp_path: Path):
    run = write_run(tmp_path, "Pong", 0, 1.0)
    later = evaluation(RunDirectory.open(run).config(), 2.0, episodes=100)
    (run / "evaluation.json").write_bytes(later.to_bytes())
    results, notes = read_runs([tmp_path])
    assert (results[0].score, notes) == (2.0, [])
    assert results[0].protocol["episodes"] == 100

    (run / "evaluation.json").write_bytes(later.model_copy(update={"checkpoint": "older"}).to_bytes())
    results, notes = read_runs([tmp_path])
    assert results[0].score == 1.0
    assert notes == [f"not used, of other weights than the last commit: {run / 'evaluation.json'}"]


def test_what_is_not_as_published_is_known(tmp_path: Path):
    write_run(tmp_path / "a", "Pong", 0)
    write_run(tmp_path / "b", "catch", 0)
    pong, catch = (read_runs([tmp_path / name])[0][0] for name in "ab")
    assert pong.deviations == [
        "environment steps 60 (published: 100000)",
        "iterations 3 (published: 600)",
        "episodes 3 (published: 100)",
        "side by side 2 (published: 8)",
    ]
    assert catch.deviations == []


def test_steps_that_were_lost_are_told(tmp_path: Path):
    run = write_run(tmp_path, "Pong", 0, lost_steps=10)
    assert read_runs([tmp_path])[1] == [f"learnt from steps of which 10 are lost since: {run}"]


def test_no_run_and_a_damaged_one_are_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="found no run there"):
        read_runs([tmp_path])
    run = write_run(tmp_path, "Pong", 0)
    with pytest.raises(UsageError, match="empty: found no run there"):
        read_runs([tmp_path, tmp_path / "empty"])
    for name, words in (("scores.json", "damaged"), ("config.json", "found no configuration of a run, or a damaged")):
        whole = (run / name).read_bytes()
        (run / name).write_text("{")
        with pytest.raises(UsageError, match=rf"{name}: {words}") as refused:
            read_runs([tmp_path])
        assert "\n" not in str(refused.value)
        (run / name).write_bytes(whole)
    nan = (run / "scores.json").read_text().replace('"score_mean": 1.0', '"score_mean": NaN')
    (run / "scores.json").write_text(nan)
    with pytest.raises(UsageError, match=r"scores\.json: damaged"):
        read_runs([tmp_path])


def test_links_are_followed_once(tmp_path: Path):
    write_run(tmp_path / "elsewhere", "Pong", 0)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "elsewhere" / "Pong-0")
    (tmp_path / "runs" / "round").symlink_to(tmp_path / "runs")
    assert len(read_runs([tmp_path / "runs"])[0]) == 1


def test_nothing_is_looked_for_within_a_run(tmp_path: Path):
    run = write_run(tmp_path, "Pong", 0)
    (run / "media").mkdir()
    (run / "media" / "config.json").write_text("{}")
    assert len(read_runs([tmp_path])[0]) == 1


def test_another_frame_skip_is_not_as_published():
    paper = evaluation(IRIS_ATARI100K, 1.0).protocol | {"environment steps": 100_000, "episodes": 100}
    assert _deviations(IRIS_ATARI100K, paper) == []
    other = IRIS_ATARI100K.model_copy(update={"env": AtariConfig(frame_skip=8)})
    assert _deviations(other, paper | {"frame skip": 8}) == ["frame skip 8 (published: 4)"]


def test_files_of_another_run_are_refused(tmp_path: Path):
    run, other = write_run(tmp_path / "a", "Pong", 0), write_run(tmp_path / "b", "Boxing", 7)
    (run / "scores.json").write_bytes((other / "scores.json").read_bytes())
    with pytest.raises(UsageError, match=r"scores\.json: damaged \(of another run: p, Boxing, seed 7\)"):
        read_runs([tmp_path / "a"])


def test_how_the_points_of_a_curve_were_evaluated_is_known(tmp_path: Path):
    write_run(tmp_path, "Pong", 0, metrics=[{"iteration": 1, "steps": 20, "evaluation/score_mean": 1.0}])
    (result,), _ = read_runs([tmp_path])
    assert result.points == {20: 1.0}
    evaluated = DEBUG_ATARI.evaluation
    assert result.points_protocol["episodes"] == evaluated.episodes
    assert result.points_protocol["episodes of the last"] == evaluated.final_episodes
    assert result.points_protocol["temperature"] == evaluated.temperature
    assert result.points_protocol["frames at most"] == 108_000


@pytest.mark.parametrize(
    "line",
    [
        '{"steps": 20, "evaluation/score_mean": NaN}',
        '{"steps": 20, "evaluation/score_mean": 1e300}',
        '{"steps": 20, "evaluation/score_mean": "1"}',
        '{"steps": 20.5, "evaluation/score_mean": 1.0}',
        '{"evaluation/score_mean": 1.0}',
        '["evaluation/score_mean"]',
        "7",
        "[" * 100_000,
        "{",
    ],
)
def test_damaged_metrics_are_one_line(tmp_path: Path, line: str):
    run = write_run(tmp_path, "Pong", 0)
    (run / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=r"metrics\.jsonl: damaged \(.*; the command that trained the run") as refused:
        read_runs([tmp_path])
    assert "\n" not in str(refused.value)
