"""What an algorithm learns, remembers and draws is as durable as the run: whole runs with real learners."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pipeline.run_dir import RunDirectory
from pipeline.train import main
from pipeline.verify import logical_digest
from tests.faults.local import Crash, failing_disk
from tests.faults.stand_ins import verifies, without_pictures

ALGORITHMS = {"iris": "debug", "delta-iris": "delta-iris-debug"}
"""And a preset of each that takes a second."""


def play(path: Path, preset: str) -> None:
    with without_pictures():
        assert main([preset, "--in-process", "--run-dir", str(path)]) == 0


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
