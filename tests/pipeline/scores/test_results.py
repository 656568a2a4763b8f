"""Scores of runs and of others' files: what is joined, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.run_dir import RunDirectory
from pipeline.scores.results import join, read_csv, read_runs
from tests.pipeline.scores.runs import evaluation, write_csv, write_run

PROTOCOL = (
    "environment steps 60, episodes 3, evaluation seeds 1, epsilon 0.0, temperature 0.5, side by side 2,"
    " environment NoFrameskip-v4, action set minimal, sticky actions no, frame skip 4, no-ops 1,"
    " frames at most 108000, ends on life loss no"
)


def test_runs_and_files_are_joined_by_algorithm_game_and_seed(tmp_path: Path):
    write_run(tmp_path / "runs", "Pong", 1, 5.0)
    write_run(tmp_path / "runs" / "below", "Pong", 0, 3.0)
    started = write_run(tmp_path / "runs", "Boxing", 0)
    (started / "scores.json").unlink()
    results, notes = read_runs([tmp_path / "runs"])
    assert notes == [f"left out, not finished: {started}"]
    longer = write_run(tmp_path / "runs", "Krull", 0, iterations=2)
    assert read_runs([tmp_path / "runs"])[1] == [f"left out, not finished: {run}" for run in (started, longer)]
    assert results[0].protocol == PROTOCOL
    results += read_csv(write_csv(tmp_path / "others.csv", "theirs,Krull,0,7.5", "theirs,crafter,0,1"))
    algorithms = join(results)
    found = {each.name: {game: scores.tolist() for game, scores in each.runs.items()} for each in algorithms}
    assert found == {"p": {"Pong": [3.0, 5.0]}, "theirs": {"Krull": [7.5], "crafter": [1.0]}}
    assert [each.protocol for each in algorithms] == [PROTOCOL, "not stated"]


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
    assert "episodes 100," in results[0].protocol

    (run / "evaluation.json").write_bytes(later.model_copy(update={"checkpoint": "older"}).to_bytes())
    results, notes = read_runs([tmp_path])
    assert results[0].score == 1.0
    assert notes == [f"not used, of an older commit than the last: {run / 'evaluation.json'}"]


def test_what_is_not_as_published_is_known(tmp_path: Path):
    write_run(tmp_path / "a", "Pong", 0)
    write_run(tmp_path / "b", "catch", 0)
    pong, catch = (read_runs([tmp_path / name])[0][0] for name in "ab")
    assert pong.deviations == [
        "environment steps 60 (published: 100000)",
        "episodes 3 (published: 100)",
        "side by side 2 (published: 8)",
    ]
    assert catch.deviations == []


def test_steps_that_were_lost_are_told(tmp_path: Path):
    run = write_run(tmp_path, "Pong", 0, lost_steps=10)
    assert read_runs([tmp_path])[1] == [f"learnt from steps of which 10 are lost since: {run}"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,Pong,0,nan", "line 2: found a score of nan, expected a number"),
        ("a,Pong,0,inf", "line 2: found a score of inf"),
        ("a,Pong,0,-1e308", "line 2: found a score of -1e308, expected a number of at most 1e+12"),
        ("a,Pong,zero,1", "line 2: invalid literal"),
        ("a,Pnog,0,1", "line 2: unknown Atari game: found 'Pnog', nearest name 'Pong'"),
        ("a,Pong,0", "line 2: found 3 values, expected one a column"),
        ("a,Pong,0,1,2", "line 2: found 5 values, expected one a column"),
        (" ,Pong,0,1", "line 2: found no name of an algorithm"),
        ("", "found no line below its columns"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str):
    with pytest.raises(UsageError) as refused:
        read_csv(write_csv(tmp_path / "others.csv", line))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"game,score\nPong,1\n", "found columns game,score, expected algorithm,game,seed,score and perhaps protocol"),
        (b"", "found columns of no name"),
        (b"\xff\xfe", "found bytes that are no text"),
    ],
)
def test_other_columns_and_no_table_are_one_line(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "others.csv").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_csv(tmp_path / "others.csv")


def test_a_spreadsheets_table_can_be_read(tmp_path: Path):
    """It begins with a byte order mark and ends its lines in two characters."""
    (tmp_path / "others.csv").write_bytes(b"\xef\xbb\xbfalgorithm,game,seed,score\r\na,Pong,0,1\r\n")
    assert [each.algorithm for each in read_csv(tmp_path / "others.csv")] == ["a"]


def test_no_file_is_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_csv(tmp_path / "none.csv")


def test_a_seed_that_comes_twice_is_refused(tmp_path: Path):
    write_run(tmp_path / "a", "Pong", 0)
    write_run(tmp_path / "b", "Pong", 0)
    with pytest.raises(UsageError, match=r"p, Pong: found seed 0 twice \(.*a/Pong-0 and .*b/Pong-0\)"):
        join(read_runs([tmp_path])[0])


def test_other_protocols_and_other_configurations_are_refused_or_split(tmp_path: Path):
    one = write_run(tmp_path, "Pong", 0)
    config = RunDirectory.open(one).config()
    longer = evaluation(config, 1.0, episodes=100)
    write_run(tmp_path, "Pong", 1, protocol=longer.protocol)
    with pytest.raises(UsageError, match=r"p: protocol: found .*episodes 3.* and .*episodes 100.*; --split"):
        join(read_runs([tmp_path])[0])

    other = write_run(tmp_path / "other", "Pong", 2)
    changed = config.model_copy(
        update={"seed": 2, "actor_critic": config.actor_critic.model_copy(update={"horizon": 3})}
    )
    (other / "config.json").write_text(changed.model_dump_json())
    results = read_runs([one, other])[0]
    words = rf"p: actor_critic\.horizon: found 4 \({one}\) and 3 \({other}\), expected one protocol and configuration"
    with pytest.raises(UsageError, match=words):
        join(results)
    split = join(results, split=True)
    assert [each.name for each in split] == ["p [actor_critic.horizon 4]", "p [actor_critic.horizon 3]"]
    assert [len(each.results) for each in split] == [1, 1]


def test_no_run_and_a_damaged_one_are_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="found no run there"):
        read_runs([tmp_path])
    run = write_run(tmp_path, "Pong", 0)
    with pytest.raises(UsageError, match="empty: found no run there"):
        read_runs([tmp_path, tmp_path / "empty"])
    for name in ("scores.json", "metrics.jsonl", "config.json"):
        whole = (run / name).read_bytes()
        (run / name).write_text("{")
        with pytest.raises(UsageError, match=rf"{name}: damaged") as refused:
            read_runs([tmp_path])
        assert "\n" not in str(refused.value)
        (run / name).write_bytes(whole)
    nan = (run / "scores.json").read_text().replace('"score_mean": 1.0', '"score_mean": NaN')
    (run / "scores.json").write_text(nan)
    with pytest.raises(UsageError, match=r"scores\.json: damaged"):
        read_runs([tmp_path])
