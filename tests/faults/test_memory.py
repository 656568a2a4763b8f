"""Memory runs out, or a disk fills up, in an odd place: one line, and the run goes on when there is room again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import pytest

from learners import durable
from pipeline.cli import command
from pipeline.errors import RunFailedError
from pipeline.train import main
from tests.faults.fakes import FakeCollector, FakeEvaluator, FakeLearner
from tests.faults.local import local_config, one_line, play_locally

ERRORS = [
    MemoryError("Unable to allocate 3.7 TiB for an array"),
    MemoryError(),
    RuntimeError("could not create a primitive"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\n#0: a long stack"),
]
"""What numpy, Python, oneDNN and torch say."""


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {error}"[:40])
@pytest.mark.parametrize(
    ("cls", "method"), [(FakeLearner, "inspect"), (FakeCollector, "collect"), (FakeEvaluator, "play")]
)
def test_a_call_that_runs_out_of_memory_ends_the_run_in_one_line(
    cls: type, method: str, error: Exception, tmp_path: Path
):
    config, path = local_config(3), tmp_path / "run"
    whole, calls = getattr(cls, method), 0

    def runs_out(self: Any, *arguments: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return whole(self, *arguments, **kwargs)

    with patch.object(cls, method, runs_out), pytest.raises(RunFailedError, match=r"^out of memory") as failure:
        play_locally(path, config)
    message = one_line(failure.value)
    assert (str(error).partition("\n")[0] or "MemoryError") in message
    assert message.endswith("is the last commit; the same command resumes there")
    assert play_locally(path, config) == play_locally(tmp_path / "undisturbed", config)


def test_what_is_no_lack_of_memory_stays_a_bug(tmp_path: Path):
    def broken(self: Any, iteration: int) -> None:
        raise RuntimeError("a bug")

    with patch.object(FakeLearner, "inspect", broken), pytest.raises(RuntimeError, match=r"^a bug$"):
        play_locally(tmp_path / "run", local_config(2))


def test_a_disk_that_is_full_when_a_film_is_written_ends_the_run_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write, run = durable.write, tmp_path / "run"

    def full(file: BinaryIO, data: bytes) -> None:
        if data.startswith(b"GIF8"):
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
        write(file, data)

    line = ["delta-iris-debug", "--in-process", "--run-dir", str(run)]
    with patch.object(durable, "write", full), pytest.raises(SystemExit) as left:
        command(lambda: main(line))
    said = capsys.readouterr().err
    assert (left.value.code, said.count("\n")) == (1, 1)
    assert os.strerror(errno.ENOSPC) in said
    assert said.endswith("is the last commit; the same command resumes there\n")
    assert main(line) == 0
    assert list((run / "media").glob("*.gif"))
