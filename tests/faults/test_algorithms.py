"""What an algorithm learns, remembers and draws is as durable as the run: whole runs with real learners."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from actors import collector
from actors.envs.together import InProcesses
from learners import columns
from learners.durable import TEMPORARY_SUFFIX
from pipeline import evaluate
from pipeline.evaluation import read
from pipeline.run_dir import RunDirectory
from pipeline.train import main
from pipeline.verify import logical_digest
from tests.faults.local import Crash, failing_disk
from tests.faults.stand_ins import verifies, without_pictures

ALGORITHMS = {"iris": "debug", "delta-iris": "delta-iris-debug", "jepa": "jepa-debug"}
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


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    play(tmp_path / "undisturbed", "delta-iris-debug")
    jumps = cycle([0.0, 4e9, -1e6, 1e9, 5.0])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    play(tmp_path / "jumps", "delta-iris-debug")
    assert digest(tmp_path / "jumps") == digest(tmp_path / "undisturbed")


def test_an_evaluation_that_is_killed_leaves_a_whole_result_or_none(tmp_path: Path):
    """At any of its calls of the disk; and the run as it was."""
    run = tmp_path / "run"
    play(run, "delta-iris-debug")
    before = content(run)
    line, result = [str(run), "--episodes", "2", "--in-process"], run / "evaluation.json"
    calls = count()
    for call in calls:
        with failing_disk(call), suppress(Crash):
            assert evaluate.main(line) == 0
            break
        if result.exists():
            assert len(read(result).episodes) == 2, call
            result.unlink()
        assert content(run) == before, call
    assert next(calls) > 3
    assert len(read(result).episodes) == 2


def content(path: Path) -> dict[str, bytes]:
    """But for what was never finished."""
    files = (each for each in path.rglob("*") if each.is_file() and each.suffix != TEMPORARY_SUFFIX)
    return {str(each): each.read_bytes() for each in files}
