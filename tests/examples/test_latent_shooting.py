"""The example of docs/extending.md is a stranger's algorithm: all that is promised of ours holds of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from learners.catalogue import PRESETS, add_presets, register
from learners.iris.config import IrisConfig
from pipeline import evaluate, verify
from pipeline.config import RunConfig
from pipeline.report.__main__ import main as report
from pipeline.trained import load
from pipeline.viewer.visit import Command, Visit
from tests.pipeline.test_end_to_end import ENVIRONMENT, PATIENCE_S, ROOT, Train
from tests.pipeline.viewer.fakes import header_of

ALLOW = ("--allow-module", "tests.examples.latent_shooting")
RANDOM = -0.6
"""Score of random play: one column of five."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("example") / "run"
    with Train(["latent-shooting", *ALLOW, "--in-process", "--run-dir", str(path)]) as train:
        assert train.wait() == 0, train.output
    assert "torch is loaded already" not in train.output
    assert f"pipeline.verify {path} --allow-module tests.examples.latent_shooting\n" in train.output
    return path


def test_it_learns(trained: Path):
    assert json.loads((trained / "scores.json").read_text())["score_mean"] > RANDOM + 0.6


def test_killed_it_ends_as_if_nothing_had_happened(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "run"
    line = ["latent-shooting", *ALLOW, "--in-process", "--run-dir", str(path)]
    with Train(line) as killed:
        killed.read_until("iteration 3/12 |")
        killed.kill()
        killed.wait()
    with Train(line) as resumed:
        assert resumed.wait() == 0, resumed.output
    assert "resuming after iteration " in resumed.output
    digests = []
    for run in (path, trained):
        assert verify.main([str(run), *ALLOW, "--digest"]) == 0
        digests.append(capsys.readouterr().out.splitlines()[-1])
    assert digests[0] == digests[1]


@pytest.mark.ray
def test_its_processes_can_be_those_of_ray(trained: Path, tmp_path: Path):
    """The same run, as far as it goes: every process imports the module."""
    path = tmp_path / "run"
    with Train(["latent-shooting", *ALLOW, "--iterations", "2", "--run-dir", str(path)]) as train:
        assert train.wait() == 0, train.output
    here, there = (json.loads((run / "metrics.jsonl").read_text().splitlines()[0]) for run in (path, trained))
    assert here == there


def test_it_is_evaluated_and_reported(trained: Path, tmp_path: Path):
    out = tmp_path / "evaluation.json"
    assert evaluate.main([str(trained), *ALLOW, "--in-process", "--episodes", "5", "--out", str(out)]) == 0
    assert len(json.loads(out.read_text())["episodes"]) == 5
    assert report([str(trained), *ALLOW, "--out", str(tmp_path / "report")]) == 0
    assert "latent-shooting" in (tmp_path / "report" / "table.md").read_text()


def test_it_is_watched_and_says_what_it_lacks(trained: Path):
    visit = Visit(load(trained, ("tests.examples.latent_shooting",)))
    seen = [header_of(visit.advance()) for _ in range(12)]
    actions = {header["action"] for header in seen}
    assert actions - {None}  # which begins an episode
    assert actions <= {0, 1, 2, None}
    assert {tuple(header["pictures"]) for header in seen} == {("the game",)}
    for mode in ("agent in the dream", "you in the dream", "dream beside reality"):
        header = header_of(visit.obey(Command(mode=mode)))
        assert header["mode"] == "agent in the game"
        assert header["note"] == (
            "latent-shooting: found an algorithm without dreams that can be drawn, expected one that has `dream` and"
            " `render`"
        )
    for mode in ("you in the game", "stored episodes"):
        assert header_of(visit.obey(Command(mode=mode))) | {"mode": mode, "note": ""} == header_of(visit.look())


@pytest.mark.parametrize("module", ["pipeline.verify", "pipeline.evaluate"])
def test_who_does_not_name_its_module_runs_none_of_its_code(trained: Path, module: str):
    command = [sys.executable, "-m", module, str(trained)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert (
        "found the kind 'latent-shooting', expected one of iris, delta-iris, jepa, or --allow-module with the module"
        in line
    )


def test_its_name_is_its_own():
    class Other(IrisConfig):
        pass

    with pytest.raises(ValueError, match=r"^Other: found kind 'iris', expected a name of its own$"):
        register(Other)
    settings = {**PRESETS["debug"].settings, "algorithm": Other()}
    with pytest.raises(ValidationError, match="found Other, which no module has registered for the kind 'iris'"):
        RunConfig.model_validate({"preset": "p", **settings})
    with pytest.raises(ValueError, match=r"^found a preset 'catch' already, expected a name of its own$"):
        add_presets({"catch": PRESETS["debug"]})


def test_it_is_short():
    """As docs/extending.md says."""
    assert len((Path(__file__).parent / "latent_shooting.py").read_text().splitlines()) <= 200
