"""What an algorithm learns, remembers and draws is as durable as the run: whole runs with real learners."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors import collector
from actors.envs.together import InProcesses
from learners import columns
from pipeline.run_dir import RunDirectory
from pipeline.train import main
from pipeline.verify import logical_digest
from tests.faults.local import Crash, failing_disk
from tests.faults.stand_ins import verifies, without_pictures

ALGORITHMS = {"iris": "debug", "delta-iris": "delta-iris-debug"}
"""And a preset of each that takes a second."""


def play(path: Path, preset: str, *flags: str) -> None:
    with without_pictures():
        assert main([preset, "--in-process", "--run-dir", str(path), *flags]) == 0


def digest(path: Path) -> str:
    with closing(RunDirectory.open(path)) as run:
        assert verifies(run)
        return logical_digest(run, run.config())


@pytest.mark.parametrize("preset", ALGORITHMS.values(), ids=ALGORITHMS)
def test_a_run_that_crashed_ends_like_one_that_did_not(preset: str, tmp_path: Path):
    with failing_disk(10**9) as calls:
        play(tmp_path / "undisturbed", preset)
    expected = digest(tmp_path / "undisturbed")
    for place in (0.5, 0.9):
        path = tmp_path / str(place)
        with failing_disk(int(place * len(calls))), pytest.raises(Crash):
            play(path, preset)
        play(path, preset)
        assert digest(path) == expected, calls[int(place * len(calls))]


@pytest.mark.parametrize("preset", ALGORITHMS.values(), ids=ALGORITHMS)
def test_a_run_that_reads_its_frames_ends_like_one_that_keeps_them(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    flags = ["--collection.envs-per-collector", "2"]
    play(tmp_path / "keeps", preset, *flags)
    monkeypatch.setattr(columns, "CACHE_BYTES", 100_000)  # so that derived columns are forgotten now and then
    monkeypatch.setattr(collector, "PIECE_STEPS", 7)
    play(tmp_path / "reads", preset, *flags, "--dataset.frames", "read")
    said = capsys.readouterr().out
    assert said.index("frames are kept in memory") < said.index("frames are read from replay/ whenever they are drawn")
    assert digest(tmp_path / "reads") == digest(tmp_path / "keeps")


def test_a_run_that_lost_a_process_of_its_environments_ends_like_one_that_steps_them_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    flags = ["--collection.envs-per-collector", "4"]
    play(tmp_path / "itself", "debug", *flags)
    call, calls = InProcesses.call, 0

    def dies_in_the_middle(self: InProcesses, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        nonlocal calls
        calls += 1
        if calls == 9:  # of the second iteration: the first steps its four environments five times
            os.kill(self._processes[1]._process.pid, signal.SIGKILL)
        return call(self, method, arguments)

    monkeypatch.setattr(InProcesses, "call", dies_in_the_middle)
    play(tmp_path / "lost", "debug", *flags, "--collection.env-processes", "2")
    assert "a process that steps environments is lost; going back to iteration 1" in capsys.readouterr().out
    assert digest(tmp_path / "lost") == digest(tmp_path / "itself")
