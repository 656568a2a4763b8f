"""The store as a process: one at a time, and what is damaged can be put aside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actors.replay import service
from actors.replay.service import ReplayService
from actors.replay.store import ReplayStore

RUN = "catch-seed0"
OPEN_AND_WAIT = """
import sys
from actors.replay.service import ReplayService
service = ReplayService(sys.argv[1], sys.argv[2])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_store_that_another_process_holds_is_waited_for_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    directory = str(tmp_path / "replay")
    line = [sys.executable, "-c", OPEN_AND_WAIT, directory, RUN]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        monkeypatch.setattr(service, "LOCK_TIMEOUT_S", 0.2)
        with pytest.raises(ValueError, match=r"replay is in use by another process, for 0\.2 s now$"):
            ReplayService(directory, RUN)
        monkeypatch.setattr(service, "LOCK_TIMEOUT_S", 60.0)
        holder.kill()  # as Ray does with the processes of a driver that was killed
        ReplayService(directory, RUN)


def test_repairing_puts_every_damaged_file_aside_and_says_why(play, tmp_path: Path):
    directory = tmp_path / "replay"
    store = ReplayStore(directory, RUN)
    chunks = play(iterations=4)
    for chunk in chunks:
        store.append(chunk)
    before = store.steps_by_iteration()
    damaged = sorted(directory.glob("chunk-*"))[1:3]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-1])
    service = ReplayService(str(directory), RUN)
    lines = service.repair()
    assert [line.split(":")[0] for line in lines] == [path.name for path in damaged]
    assert all("\n" not in line for line in lines)
    assert {path.name for path in (directory / "quarantine").iterdir()} == {
        name for path in damaged for name in (path.name, f"{path.name}.txt")
    }
    assert service.repair() == []
    after = service.steps()
    assert sum(before.values()) - sum(after.values()) == sum(len(chunk) for chunk in chunks[1:3])
    assert after.items() <= before.items()
