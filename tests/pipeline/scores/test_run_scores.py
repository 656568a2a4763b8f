"""Which results are averaged, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.config import GymConfig
from pipeline.errors import UsageError
from pipeline.run_dir import RunDirectory
from pipeline.scores.finished_runs import read_runs
from pipeline.scores.run_scores import join
from pipeline.scores.score_files import read_csv
from tests.learners.fakes import iris_of
from tests.pipeline.scores.runs import evaluation, write_csv, write_run

PROTOCOL = (
    "environment steps 60, iterations 3, episodes 3, evaluation seeds 1, epsilon 0.0, temperature 0.5, side by side 2,"
    " environment NoFrameskip-v4, action set minimal, sticky actions no, frame skip 4, no-ops 1,"
    " frames at most 108000, ends on life loss no, channels colours"
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
    results += read_csv(write_csv(tmp_path / "others.csv", "theirs,Krull,0,7.5", "theirs,crafter,0,1"))
    algorithms = join(results)
    found = {each.name: {game: scores.tolist() for game, scores in each.runs.items()} for each in algorithms}
    assert found == {"p": {"Pong": [3.0, 5.0]}, "theirs": {"Krull": [7.5], "crafter": [1.0]}}
    assert [each.protocol for each in algorithms] == [PROTOCOL, "not stated"]


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
    with pytest.raises(UsageError, match=r"p: episodes: found 3 .* and 100 .*; --split"):
        join(read_runs([tmp_path])[0])

    other = write_run(tmp_path / "other", "Pong", 2)
    iris = iris_of(config)
    longer = iris.actor_critic.model_copy(update={"horizon": 3})
    changed = config.model_copy(update={"seed": 2, "algorithm": iris.model_copy(update={"actor_critic": longer})})
    (other / "config.json").write_text(changed.model_dump_json())
    results = read_runs([one, other])[0]
    found = rf"found 4 \({one}\) and 3 \({other}\)"
    words = rf"p: algorithm\.actor_critic\.horizon: {found}, expected one protocol and configuration"
    with pytest.raises(UsageError, match=words):
        join(results)
    split = join(results, split=True)
    assert [each.name for each in split] == [
        "p [algorithm.actor_critic.horizon 4]",
        "p [algorithm.actor_critic.horizon 3]",
    ]
    assert [len(each.results) for each in split] == [1, 1]


def test_runs_of_other_lengths_are_not_averaged(tmp_path: Path):
    """Iterations after the last collected step add no steps."""
    one, two = write_run(tmp_path, "Pong", 0), write_run(tmp_path, "Pong", 1)
    config = RunDirectory.open(two).config().model_copy(update={"iterations": 50})
    (two / "config.json").write_text(config.model_dump_json())
    (two / "scores.json").write_bytes(evaluation(config, 1.0).to_bytes())
    with pytest.raises(UsageError, match=rf"p: iterations: found 3 \({one}\) and 50 \({two}\), expected one protocol"):
        join(read_runs([tmp_path])[0])
    assert [each.name for each in join(read_runs([tmp_path])[0], split=True)] == [
        "p [iterations 3]",
        "p [iterations 50]",
    ]


def test_two_algorithms_of_one_name_are_refused(tmp_path: Path):
    write_run(tmp_path / "a", "Pong", 0)
    write_run(tmp_path / "b", "Pong", 0, iterations=3, protocol={"x": 1})
    runs = read_runs([tmp_path / "a", tmp_path / "b"])[0]
    name = join(runs, split=True)[0].name
    with pytest.raises(UsageError, match=r"found two algorithms named p .*, expected a name of its own for each"):
        join([*runs, *read_csv(write_csv(tmp_path / "others.csv", f'"{name}",Pong,0,1'))], split=True)


def test_games_of_gymnasium_are_games_of_one_algorithm(tmp_path: Path):
    for seed, game in enumerate(("One-v0", "Two-v0")):
        run = write_run(tmp_path, "catch", seed)
        config = RunDirectory.open(run).config().model_copy(update={"env": GymConfig(id=game)})
        (run / "config.json").write_text(config.model_dump_json())
        (run / "scores.json").write_bytes(evaluation(config, 1.0).to_bytes())
    (algorithm,) = join(read_runs([tmp_path])[0])
    assert list(algorithm.runs) == ["One-v0", "Two-v0"]
