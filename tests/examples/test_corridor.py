"""An environment of a stranger's module is played, restored and verified like ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.envs.check import check_environment
from pipeline import verify
from pipeline.errors import UsageError
from pipeline.run_dir import RunDirectory
from tests.examples.corridor import Corridor, CorridorConfig
from tests.pipeline.test_end_to_end import Train

ALLOW = ("--allow-module", "tests.examples.corridor")


def test_it_keeps_what_every_environment_promises():
    check_environment(CorridorConfig())


def test_a_state_goes_on_identically():
    first, second = Corridor(CorridorConfig(), 0), Corridor(CorridorConfig(), 1)
    first.reset()
    first.step(0)
    second.set_state(first.get_state())
    for _ in range(2):
        assert (first.reset() == second.reset()).all()
        assert (first.step(1).frame == second.step(1).frame).all()


def test_it_is_played_and_verified(tmp_path: Path):
    path = tmp_path / "run"
    with Train(["corridor", *ALLOW, "--env.max-steps", "9", "--in-process", "--run-dir", str(path)]) as train:
        assert train.wait() == 0, train.output
    assert verify.main([str(path), *ALLOW]) == 0
    config = RunDirectory.open(path).config()
    assert config.env == CorridorConfig(max_steps=9)
    (path / "config.json").write_text((path / "config.json").read_text().replace('"corridor"', '"cellar"'))
    with pytest.raises(UsageError, match="env: found the kind 'cellar', expected one of atari, crafter"):
        RunDirectory.open(path).config()
