"""Actions that are numbers: collected, learnt from, resumed, evaluated, and refused by who cannot act so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from learners.errors import AlgorithmError
from pipeline import evaluate, train, verify
from pipeline.checkpoint import Checkpoints
from pipeline.cli import Launch, command
from pipeline.presets import preset
from pipeline.run_dir import RunDirectory
from pipeline.trained import load
from pipeline.viewer.visit import Command, Visit
from tests.examples.pushed import Pushed, PushedConfig
from tests.pipeline.test_end_to_end import Train
from tests.pipeline.viewer.fakes import header_of

ALLOW = ("--allow-module", "tests.examples.pushed")
LINE = ("pushed", *ALLOW, "--in-process", "--evaluation.every", "12")
SHORT = (*LINE, "--iterations", "4", "--algorithm.training.steps-per-iteration", "10")
SIZE = len(Pushed.action_space.low)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pushed") / "run"
    with Train([*LINE, "--run-dir", str(path)]) as train:
        assert train.wait() == 0, train.output
    return path


def test_it_learns_to_push(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "random.json"
    line = ["--agent", "random", "pushed", *ALLOW, "--in-process", "--episodes", "100", "--out", str(out)]
    assert evaluate.main(line) == 0
    random, found = json.loads(out.read_text()), json.loads((trained / "scores.json").read_text())
    errors = [scores["score_std"] / len(scores["episodes"]) ** 0.5 for scores in (random, found)]
    assert found["score_mean"] - random["score_mean"] > 4 * sum(errors)


def test_its_actions_are_stored_as_they_were_taken(trained: Path):
    """Most of them are the actor's, some are uniform in the box."""
    run = RunDirectory.open(trained)
    config = run.config()
    newest = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
    assert newest
    actions = np.concatenate([chunk.actions for chunk in run.store(config).all_chunks(newest.state.experience)])
    assert (actions.shape, actions.dtype) == ((12 * 200, SIZE), np.float32)
    for action in actions:
        Pushed.action_space.check(action)
    assert len(np.unique(actions, axis=0)) == len(actions)


def test_it_is_watched_and_keys_push(trained: Path):
    visit = Visit(load(trained, ("tests.examples.pushed", "tests.examples.latent_shooting")))
    assert {header_of(visit.advance())["action"] for _ in range(12)} == {None}
    header = header_of(visit.obey(Command(mode="you in the game")))
    assert (header["mode"], header["note"]) == ("you in the game", "")
    visit.obey(Command(action=8))  # LEFTUP, the last of nine
    assert header_of(visit.advance())["action"] == 8
    assert header_of(visit.obey(Command(action=9)))["note"] == "action: found 9, expected 0 to 8"
    visit.obey(Command(mode="stored episodes"))
    assert [header_of(visit.advance())["step"] for _ in range(3)] == [1, 2, 3]


def test_killed_it_ends_as_if_nothing_had_happened(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    digests = []
    for name in ("killed", "whole"):
        line = [*SHORT, "--run-dir", str(tmp_path / name)]
        if name == "killed":
            with Train(line) as killed:
                killed.read_until("iteration 2/4 |")
                killed.kill()
                killed.wait()
        with Train(line) as train:
            assert train.wait() == 0, train.output
        assert ("resuming after iteration " in train.output) == (name == "killed")
        assert verify.main([str(tmp_path / name), *ALLOW, "--digest"]) == 0
        digests.append(capsys.readouterr().out.splitlines()[-1])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", ["debug", "delta-iris-debug"])
def test_who_chooses_among_actions_refuses_it_before_anything_starts(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = preset(name).model_copy(update={"env": PushedConfig()})
    with pytest.raises(SystemExit) as left:
        command(lambda: train.train(Launch(config=config, run_dir=tmp_path / "run")))
    said = capsys.readouterr()
    words = "found actions of 2 numbers from (-0.5, -0.5) to (0.5, 0.5), expected one of several actions"
    assert (left.value.code, said.err) == (2, f"error: {config.algorithm.kind}: {words}\n")
    assert list(tmp_path.iterdir()) == []


def test_nobody_leans_to_one_of_numbers():
    with pytest.raises(AlgorithmError, match=r"^--agent leaning: found actions of 2 numbers from "):
        evaluate.main(["--agent", "leaning", "pushed", *ALLOW, "--in-process"])
