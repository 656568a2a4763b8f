"""Which episodes are played, under which protocol, and that who plays them may die.

That a run's own protocol gives its own scores again is shown in test_end_to_end.py.
"""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cluster.open
from actors.config import ALE_MAX_FRAMES, AtariConfig, GymConfig
from cluster.config import ClusterConfig
from cluster.errors import ClusterError
from cluster.process import Placement
from cluster.ray_processes import RayProcesses
from cluster.this_process import ThisProcess
from pipeline import evaluate, workers
from pipeline.checkpoint import Checkpoints, State
from pipeline.errors import RunFailedError, UsageError
from pipeline.evaluate import Arguments, main
from pipeline.evaluation import Episode, read
from pipeline.players import Plan, open_players
from pipeline.presets import preset
from pipeline.run_dir import RunDirectory
from tests.learners.fakes import TINY_AGENT
from tests.pipeline.fakes import Player
from tests.pipeline.scores.runs import write_run

CATCH = preset("catch")
DEBUG = preset("debug")
DEMO = preset("atari-demo")
IRIS_ATARI100K = preset("iris-atari100k")

EVALUATION = DEMO.evaluation.model_copy(update={"envs_per_evaluator": 4})
PLAN = Plan(DEMO.env, EVALUATION, seeds=(3, 5), episodes=10)


def test_episodes_are_played_in_batches_of_the_size_that_is_part_of_the_protocol():
    assert PLAN.batches == [(3, 0, 4), (3, 1, 4), (3, 2, 2), (5, 0, 4), (5, 1, 4), (5, 2, 2)]


def test_the_published_protocol_is_that_of_the_paper_on_the_runs_own_game():
    plan = evaluate._plan(DEMO, Arguments(run_dir=Path("run")))
    assert isinstance(plan.env, AtariConfig)
    assert (plan.env.game, plan.env.evaluation_max_frames) == (DEMO.game, ALE_MAX_FRAMES)
    assert plan.evaluation == IRIS_ATARI100K.evaluation
    assert (plan.episodes, plan.evaluation.temperature, plan.evaluation.epsilon) == (100, 0.5, 0.0)
    assert plan.seeds == (DEMO.seed,)


def test_the_runs_own_protocol_is_played_on_request_and_where_none_is_published(capsys: pytest.CaptureFixture[str]):
    plan = evaluate._plan(DEMO, Arguments(run_dir=Path("run"), protocol="run", episodes=7, seeds=(1, 2)))
    assert (plan.env, plan.evaluation, plan.episodes, plan.seeds) == (DEMO.env, DEMO.evaluation, 7, (1, 2))
    assert capsys.readouterr().out == ""
    assert evaluate._plan(CATCH, Arguments(run_dir=Path("run"))).evaluation == CATCH.evaluation
    words = "no protocol is published for catch on catch: played as the run itself does\n"
    assert capsys.readouterr().out == words


def test_what_cannot_be_evaluated_is_one_line(tmp_path: Path):
    run = write_run(tmp_path, "Pong", 0)
    RunDirectory.open(run).close()
    with pytest.raises(UsageError, match="--seeds: found 4 twice, expected different seeds"):
        main([str(run), "--seeds", "4", "1", "4"])
    with pytest.raises(UsageError, match=r"--episodes: found 1000000000000 of each seed, expected at most 1000000$"):
        evaluate._plan(CATCH, Arguments(run_dir=run, episodes=10**12))
    os.mkfifo(tmp_path / "pipe")
    elsewhere = (tmp_path / "none" / "evaluation.json", tmp_path, tmp_path / "pipe", tmp_path / ("n" * 256))
    for out in (*elsewhere, run / "config.json", run / "media.json", run / "config.json" / "below"):
        with pytest.raises(UsageError, match=rf"--out: found no file {out} that can be written, expected one"):
            main([str(run), "--out", str(out)])
    (run / "scores.json").unlink()  # as if it had been killed before its first commit
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UsageError, match="found no commit, expected at least one iteration to evaluate"):
        main([str(run)])
    with pytest.raises(UsageError, match="found no run there"):
        main([str(tmp_path)])
    assert not (run / "evaluation.json").exists()


def test_a_module_that_a_runs_files_name_is_imported_only_if_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "games.py").write_text(f"open({str(tmp_path / 'was-here')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    run = write_run(tmp_path, "Pong", 0)
    config = DEBUG.model_copy(update={"env": GymConfig(id="games:Walk-v0")})
    (run / "config.json").write_text(config.model_dump_json())
    checkpoints = Checkpoints(run / "checkpoints", keep=3)
    counts = {"iteration": 3, "iterations": 3, "steps": 60, "evaluation": [(0.0, 1)]}
    state = State(**counts, identity=config.identity_hash(), machine={})
    checkpoints.commit(checkpoints.prepare(3), state, {})
    for named in ([], ["--allow-module", "json", "math"]):
        with pytest.raises(UsageError, match=r"^--allow-module: .* names the module 'games', whose code would run; "):
            main([str(run), *named])
        assert not (tmp_path / "was-here").exists()
    with pytest.raises(UsageError, match="unknown Gymnasium environment: found 'games:Walk-v0'"):
        main([str(run), "--allow-module", "json", "games"])
    assert (tmp_path / "was-here").exists()


def play(monkeypatch: pytest.MonkeyPatch, processes: RayProcesses, tmp_path: Path, deaths: int) -> list[list[Episode]]:
    """The plan with two weights, played by two fakes who die so often."""
    (tmp_path / "deaths").mkdir()
    for death in range(deaths):
        (tmp_path / "deaths" / str(death)).touch()
    arguments = Player, str(tmp_path / "deaths"), EVALUATION.envs_per_evaluator
    players = [processes.start(f"evaluator {i}", *arguments, placement=Placement(threads=1)) for i in range(2)]
    monkeypatch.setattr(workers, "start_evaluators", lambda *_: players)
    monkeypatch.setattr(cluster.open, "open_processes", lambda *_, **__: nullcontext(processes))
    how: dict[str, Any] = {"most": 6, "evaluators": 0, "device": "auto", "in_process": False}
    with open_players(TINY_AGENT, PLAN, ClusterConfig(), iteration=9, **how) as opened:
        return opened.play(PLAN, [np.full(1, first, np.uint8) for first in (0, 100)])


@pytest.mark.ray
def test_every_episode_is_played_once_whoever_dies(
    monkeypatch: pytest.MonkeyPatch, processes: RayProcesses, tmp_path: Path
):
    played = play(monkeypatch, processes, tmp_path, deaths=ClusterConfig().max_losses)
    order = [(seed, index) for seed in (3, 5) for index in range(10)]
    assert [[(each.seed, each.index) for each in episodes] for episodes in played] == [order, order]
    for first, episodes in zip((0, 100), played, strict=True):
        assert [each.score for each in episodes] == [1000.0 * seed + index + first for seed, index in order]
    assert not list((tmp_path / "deaths").iterdir())


@pytest.mark.ray
def test_who_dies_too_often_is_given_up(monkeypatch: pytest.MonkeyPatch, processes: RayProcesses, tmp_path: Path):
    with pytest.raises(RunFailedError, match=r"evaluation episodes.*; that was loss 4: giving up"):
        play(monkeypatch, processes, tmp_path, deaths=ClusterConfig().max_losses + 20)


FLOOR_MISTAKES = {
    "--agent trian": "^--agent: found 'trian', expected 'trained' or 'random' or 'leaning'$",
    "--agent": "^--agent: found no value, expected 'trained' or 'random' or 'leaning'$",
    "--agent random": "^preset: found none, expected one of .*catch, debug, ",
    "--agent leaning some/run": "^preset: found 'some/run', expected one of .*catch, debug, .* as the first argument$",
    "--agent=random ctach": "^preset: found 'ctach', expected one of .*; did you mean catch",
    "catch": "^RUN_DIR: found the preset catch, expected the directory of a run, or --agent random or leaning$",
    "catch --agent trained": "^RUN_DIR: found the preset catch, expected the directory of a run, or --agent random",
    "--agent random catch --agent leaning": "^--agent: found it twice, expected it once$",
    "--agent random catch --env.rows 1": "^--env.rows: found 1, expected greater than or equal to 2$",
    "--agent random atari-small --env.game Krul": "^--env.game: unknown Atari game: found 'Krul'",
    "--agent random catch --evaluation.episodes 0": "^--evaluation.episodes: found 0, expected greater than 0$",
    "--agent random catch --protocol run": "^unknown flag: found --protocol",
    "--agent random catch --seeds 4 1 4": "^--seeds: found 4 twice, expected different seeds$",
    "--agent random catch --episodes 1000000000000": "^--episodes: found 1000000000000 of each seed, expected at most",
    "--agent random catch --out no/where.json": "^--out: found no file no/where.json that can be written, expected",
    "--agent random gym --env.id ..:X-v0": "^--env: unknown Gymnasium environment: found '..:X-v0', ",
    "--agent random gym --env.id Nope-v0": "^--env: unknown Gymnasium environment: found 'Nope-v0'",
}


@pytest.mark.parametrize(("line", "words"), FLOOR_MISTAKES.items(), ids=FLOOR_MISTAKES)
def test_a_mistake_in_who_plays_what_is_one_line_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, words: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster.open, "open_processes", None)
    with pytest.raises(UsageError, match=words) as refused:
        main(line.split())
    assert "\n" not in str(refused.value)


def test_a_preset_played_without_an_agent_writes_nothing_but_the_file_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    line = ["--agent", "leaning", "debug", "--env.rows", "5", "--in-process", "--seeds", "3", "4", "--episodes", "9"]
    assert main(line) == 0
    assert list(tmp_path.iterdir()) == []
    protocol, summary = capsys.readouterr().out.splitlines()[-2:]
    assert main([*line[2:], "--out", "floor.json", *line[:2]]) == 0
    found = read(tmp_path / "floor.json")
    assert (found.preset, found.game, found.iterations, found.steps, found.checkpoint) == ("debug", "catch", 0, 0, "")
    assert [(each.seed, each.index) for each in found.episodes] == [(seed, i) for seed in (3, 4) for i in range(9)]
    assert all(each.length == 4 for each in found.episodes)
    assert protocol.startswith(
        f"agent leaning, half of all actions {found.protocol['half of all actions']}, chosen by "
    )
    assert summary == f"{found.summary}, standard error {found.standard_error:.2f}"
    assert capsys.readouterr().out.splitlines()[-2:] == [protocol, f"{summary}; each of them: floor.json"]


def test_help_tells_of_play_without_an_agent(capsys: pytest.CaptureFixture[str]):
    for line, words in {
        "--help": ["RUN_DIR [--flag", "With --agent random PRESET", "--agent {trained,random,leaning}"],
        "--agent random --help": ["evaluate --agent random PRESET [--flag", "  atari-small "],
        "--agent leaning atari-small --help": ["--agent leaning atari-small [--flag", "--env.game", "--seeds", "--out"],
    }.items():
        with pytest.raises(SystemExit):
            main(line.split())
        shown = capsys.readouterr().out
        assert [each for each in words if each not in shown] == []


def test_a_gpu_that_is_not_there_is_one_line():
    with pytest.raises(ClusterError, match="--device cuda: found no node with a GPU"):
        workers.start_evaluators(ThisProcess(), "cuda", TINY_AGENT, DEMO.env, DEMO.evaluation, 0, 1)


def test_more_processes_than_there_are_cpus_are_one_line():
    words = r"--evaluators: found 999, expected at most \d+, for which the cluster has room"
    with pytest.raises(ClusterError, match=words):
        workers.start_evaluators(ThisProcess(), "cpu", TINY_AGENT, DEMO.env, DEMO.evaluation, 999, 1000)
