"""A whole run within this process and without Ray, in a tenth of a second: for faults of the disk, by the hundred."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import numpy as np

from cluster.this_process import ThisProcess
from learners import durable
from pipeline.commit_mark import forget_what_was_not_committed
from pipeline.config import RunConfig
from pipeline.driver import Driver
from pipeline.finish import finish, last_commit
from pipeline.run_dir import RunDirectory
from pipeline.stop import StopSignals
from pipeline.verify import logical_digest
from tests.faults import fakes
from tests.faults.stand_ins import (
    DISK_CALLS,
    Listener,
    Outcome,
    config_of,
    outcome,
    start_fakes,
    verifies,
    without_pictures,
)


class Crash(BaseException):
    """Everything stops at once, as when the power fails or the process is killed."""


class SlowLearning(ThisProcess):
    """While a part learns, which takes longest, another iteration goes on."""

    async def arrival(self, references: Any, what: str, timeout_s: float) -> Any:
        for _ in range(20 if what.startswith("gradient steps") else 0):
            await asyncio.sleep(0)
        return await super().arrival(references, what, timeout_s)


@contextmanager
def everything_fast() -> Iterator[None]:
    with (
        patch.object(fakes, "WORK_S", 0.0),
        patch.object(os, "fsync", lambda descriptor: None),  # no power is lost but where a test says so
        without_pictures(),
    ):
        yield


def local_config(iterations: int, schedule: str = "synchronous", learners: str = "colocated") -> RunConfig:
    """Inspects in every iteration, so that the last one is not special."""
    return config_of(iterations, schedule, learners).model_copy(update={"inspect_every": 1})


def play_locally(path: Path, config: RunConfig, *, accept_loss: bool = False) -> Outcome:
    """As `python -m pipeline.train` would: begins or resumes, and runs to the end.

    Raises: UsageError, RunFailedError, as that would; AssertionError if a step is missing or doubled in the end.
    """
    listener = Listener(config)
    with everything_fast():
        run = RunDirectory.claim(path, config)
        try:
            if checkpoint := last_commit(run, config):
                finish(run, config, checkpoint)
            else:
                forget_what_was_not_committed(run, config)
                run.begin(config)
                with closing(SlowLearning()) as processes, StopSignals() as stop:
                    workers = start_fakes(config, run, processes)
                    Driver(config, run, workers, listener, stop, accept_loss=accept_loss).run()
            return outcome(run, config, listener.lines)
        finally:
            run.close()


@contextmanager
def failing_disk(at_call: int, error: Callable[[str], BaseException] = Crash) -> Iterator[list[str]]:
    """The call number `at_call` (from 0) of `learners/durable.py` raises; half of what it was to write is written.

    Yields: the calls so far, as "write config.json"; the last one is the one that failed.
    """
    calls: list[str] = []

    def fails(call: str, path: object) -> bool:
        calls.append(f"{call} {Path(str(path)).name}")
        return len(calls) - 1 == at_call

    def write(file: BinaryIO, data: bytes) -> None:
        if fails("write", file.name):
            file.write(data[: len(data) // 2])
            file.flush()
            raise error(file.name)
        file.write(data)
        file.flush()

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if fails("fsync", path):
            raise error(path)

    def rename(source: Path, target: Path) -> None:
        if fails("rename", target):
            raise error(str(target))
        os.replace(source, target)

    def unlink(path: Path) -> None:
        if fails("unlink", path):
            raise error(str(path))
        path.unlink(missing_ok=True)

    replacements = dict(zip(DISK_CALLS, (write, fsync, rename, unlink), strict=True))
    with patch.multiple(durable, **replacements):
        yield calls


def no_space(path: str) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def read_only(path: str) -> OSError:
    return OSError(errno.EROFS, os.strerror(errno.EROFS), path)


COUNTED = ("checkpoints", "replay", "metrics.jsonl", "scores.json", "config.json")
"""What a run is; pictures, TensorBoard's files and timings are views of it."""


def mutate(path: Path, rng: np.random.Generator) -> str:
    """Damages one file of a run directory: a bit, a stretch of zeros, its end, two files' contents, or the whole file.

    Returns: what was done, in words.
    """
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and file.relative_to(path).parts[0] in COUNTED and file.name != ".lock"
    )
    while True:
        file, other = (files[index] for index in rng.choice(len(files), size=2, replace=False))
        before = file.read_bytes()
        data, where = bytearray(before), int(rng.integers(len(before)))
        kind = ("flip", "zero", "truncate", "swap", "delete")[rng.integers(5)]
        if kind == "flip":
            data[where] ^= 1 << int(rng.integers(8))
        elif kind == "zero":
            length = min(int(rng.integers(1, 64)), len(data) - where)
            data[where : where + length] = bytes(length)
        elif kind == "truncate":
            del data[where:]
        elif kind == "swap":
            data[:] = other.read_bytes()
        if kind != "delete" and (bytes(data) == before or _same_run(file, before, bytes(data))):
            continue
        if kind == "delete":
            file.unlink()
        else:
            file.write_bytes(data)
        if kind == "swap":
            other.write_bytes(before)
            return f"swap {file.relative_to(path)} and {other.relative_to(path)}"
        return f"{kind} {file.relative_to(path)} at {where} of {len(before)}"


def _same_run(file: Path, before: bytes, after: bytes) -> bool:
    """Whether config.json still says the same about what the run is: the rest a person may change."""
    if file.name != "config.json":
        return False
    try:
        old, new = (RunConfig.model_validate_json(data) for data in (before, after))
    except ValueError:
        return False
    return json.dumps(old.identity()) == json.dumps(new.identity())


def finds_or_repairs(path: Path, digest: str) -> bool:
    """Whether `pipeline.verify` says that something is wrong. If not, the run must be what it was.

    Raises: UsageError, if it cannot even begin to look.
    """
    with closing(RunDirectory.open(path)) as run:
        return not verifies(run) or logical_digest(run, run.config()) == digest


def one_line(error: Exception) -> str:
    """The message of an error that is made for people."""
    (line,) = str(error).splitlines()
    return line
