import os
import sys
from pathlib import Path

import pytest

from pipeline.demo import NEXT, beside_random, demo_directory, show
from pipeline.evaluation import Episode, Evaluation
from pipeline.presets import preset


def finish(run: Path) -> None:
    run.mkdir()
    (run / "scores.json").touch()


def test_the_first_demo_takes_the_plain_name(tmp_path: Path):
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo"


def test_an_unfinished_demo_is_gone_on_with(tmp_path: Path):
    (tmp_path / "demo").mkdir()
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo"
    finish(tmp_path / "demo-2")
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo"


def test_after_a_finished_demo_comes_the_next_number(tmp_path: Path):
    finish(tmp_path / "demo")
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo-2"
    finish(tmp_path / "demo-2")
    (tmp_path / "demo-3").mkdir()
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo-3"


def test_the_agent_stands_beside_random_play_in_standard_errors_of_their_difference():
    random, agent = scored([0.0, 2.0, 4.0]), scored([10.0, 13.0, 16.0])  # standard errors 2/√3 and 3/√3
    assert beside_random(random, agent) == "random 2 → this agent 13 (3 games each, 5.3 standard errors above)"
    assert beside_random(agent, random) == "random 13 → this agent 2 (3 games each, 5.3 standard errors below)"
    assert beside_random(random, scored([2.0])) == "random 2 → this agent 2 (1 games each)"


def test_on_a_terminal_the_page_opens_and_elsewhere_is_said_how(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    begun: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, line: begun.append(line))
    show(Path("runs/demo"))
    assert (begun, capsys.readouterr().out) == ([], f"{NEXT}\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show(Path("runs/demo"))
    assert begun == [[sys.executable, "-m", "pipeline.play", "runs/demo"]]


def scored(scores: list[float]) -> Evaluation:
    episodes = [Episode(seed=0, index=index, score=score, length=1) for index, score in enumerate(scores)]
    return Evaluation.of(preset("demo"), None, {}, episodes)
