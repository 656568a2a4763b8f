"""Scores of runs and of others' files: what is joined, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.scores.results import by_algorithm, read_csv, read_runs

PROTOCOL = {"epsilon": 0.0, "temperature": 0.5, "envs_per_evaluator": 8}


def write_run(root: Path, game: str, seed: int, score: float = 1.0, **changes: object) -> Path:
    run = root / f"{game}-{seed}"
    run.mkdir(parents=True)
    (run / "config.json").write_text(
        json.dumps({"iterations": 3, "env": {"kind": "atari", "game": game, "frame_skip": 4}})
    )
    scores = {"preset": "p", "game": game, "seed": seed, "steps": 200, "score_mean": score, "protocol": PROTOCOL}
    (run / "scores.json").write_text(json.dumps({**scores, "iterations": 3, "episodes": [{}] * 3, **changes}))
    return run


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["algorithm,game,seed,score", *lines]))
    return path


def test_runs_and_files_are_joined_by_algorithm_game_and_seed(tmp_path: Path):
    write_run(tmp_path / "runs", "Pong", 1, 5.0)
    write_run(tmp_path / "runs" / "below", "Pong", 0, 3.0)
    started = write_run(tmp_path / "runs", "Boxing", 0)
    (started / "scores.json").unlink()
    results, unfinished = read_runs([tmp_path / "runs"])
    longer = write_run(tmp_path / "runs", "Krull", 0, iterations=2)
    assert read_runs([tmp_path / "runs"])[1] == [started, longer]
    assert unfinished == [started]
    assert results[0].protocol == (
        "200 steps, 3 episodes, envs_per_evaluator 8, epsilon 0.0, frame_skip 4, kind atari, temperature 0.5"
    )
    results += read_csv(write_csv(tmp_path / "others.csv", "theirs,Krull,0,7.5"))
    found = by_algorithm(results)
    assert {name: {game: scores.tolist() for game, scores in runs.items()} for name, runs in found.items()} == {
        "p": {"Pong": [3.0, 5.0]},
        "theirs": {"Krull": [7.5]},
    }


def test_a_run_given_twice_counts_once(tmp_path: Path):
    run = write_run(tmp_path, "Pong", 0)
    assert len(read_runs([tmp_path, run])[0]) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,Pong,0,nan", "line 2: found a score of nan, expected a number"),
        ("a,Pong,0,inf", "line 2: found a score of inf"),
        ("a,Pong,zero,1", "line 2: invalid literal"),
        ("a,Pnog,0,1", "line 2: unknown Atari game: found 'Pnog', nearest name 'Pong'"),
        ("a,Pong,0", "line 2: "),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str):
    with pytest.raises(UsageError) as refused:
        read_csv(write_csv(tmp_path / "others.csv", line))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_columns_and_no_file_are_one_line(tmp_path: Path):
    (tmp_path / "others.csv").write_text("game,score\nPong,1\n")
    with pytest.raises(UsageError, match="expected algorithm,game,seed,score"):
        read_csv(tmp_path / "others.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_csv(tmp_path / "none.csv")


def test_what_must_not_be_averaged_is_refused(tmp_path: Path):
    write_run(tmp_path / "a", "Pong", 0)
    write_run(tmp_path / "b", "Pong", 0)
    with pytest.raises(UsageError, match="p, Pong: found seed 0 twice"):
        by_algorithm(read_runs([tmp_path])[0])
    write_run(tmp_path / "c", "Boxing", 0, steps=100_000)
    with pytest.raises(UsageError, match=r"p: found 200 steps, .* and 100000 steps, .*, expected one protocol"):
        by_algorithm(read_runs([tmp_path / "a", tmp_path / "c"])[0])


def test_no_run_and_a_damaged_one_are_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="found no run there"):
        read_runs([tmp_path])
    (write_run(tmp_path, "Pong", 0) / "scores.json").write_text("{")
    with pytest.raises(UsageError, match=r"scores\.json: damaged"):
        read_runs([tmp_path])
