"""A crash at any write, fsync, rename or removal leaves the old state or the new one; the call can be made again.

Two disks bound what a real one may do: an eager one, on which everything issued survives (and a failing write leaves
half its bytes), and a lazy one, on which only what was fsynced survives.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import BinaryIO

import pytest

from actors.replay.store import ReplayStore, StoreState
from learners import durable

RUN = "catch-seed0"
SEAL_STEPS = 16
_UNIQUE = re.compile(r"\.[0-9a-f]{16}(?=\.tmp$)")
"""What makes a temporary name unforeseeable."""


class DiskError(OSError):
    """What a full or dying disk raises."""


class Disk:
    """Stands in for the system under `durable`. The call number `fails_at` (from 0) fails."""

    def __init__(self, fails_at: int | None, *, is_lazy: bool) -> None:
        self.calls: list[str] = []
        self._fails_at = fails_at
        self._is_lazy = is_lazy
        self._unwritten: dict[int, bytes] = {}  # by descriptor
        self._unsynced_names: list[Callable[[], None]] = []

    def write(self, file: BinaryIO, data: bytes) -> None:
        if self._fails("write", Path(file.name)) and not self._is_lazy:
            data = data[: len(data) // 2]
        if self._is_lazy:
            self._unwritten[file.fileno()] = data
        else:
            file.write(data)
            file.flush()
        self._stop()

    def fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        fails = self._fails("fsync", path)
        lost = self._unwritten.pop(descriptor, b"")  # a system drops the pages it could not write
        if not fails:
            os.write(descriptor, lost) if lost else None
            if path.is_dir():
                for act in self._unsynced_names:
                    act()
                self._unsynced_names.clear()
        self._stop()

    def rename(self, source: Path, target: Path) -> None:
        self._name("rename", target, lambda: os.replace(source, target))

    def unlink(self, path: Path) -> None:
        self._name("unlink", path, lambda: path.unlink(missing_ok=True))

    def _name(self, call: str, path: Path, act: Callable[[], None]) -> None:
        if not self._fails(call, path):
            self._unsynced_names.append(act) if self._is_lazy else act()
        self._stop()

    def _fails(self, call: str, path: Path) -> bool:
        self.calls.append(f"{call} {_UNIQUE.sub('', path.name)}")
        return self._fails_at == len(self.calls) - 1

    def _stop(self) -> None:
        if self._fails_at == len(self.calls) - 1:
            raise DiskError(f"call {self._fails_at} fails: {self.calls[-1]}")

    def under(self, act: Callable[[], object]) -> bool:
        """Whether `act` succeeds on this disk."""
        with pytest.MonkeyPatch.context() as patch:
            for call in ("write", "fsync", "rename", "unlink"):
                patch.setattr(durable, call, getattr(self, call))
            try:
                act()
            except DiskError:
                return False
            return True


def _open(directory: Path) -> ReplayStore:
    return ReplayStore(directory, RUN, seal_steps=SEAL_STEPS)


CALLS = [
    "append",
    "truncate",
    "truncate sealed",
    "truncate split",
    "seal",
    "seal two segments",
    "quarantine",
    "rebuild",
]


@pytest.fixture
def scene(request, play, tmp_path) -> tuple[Path, Callable[[ReplayStore], object]]:
    """A stored past (iterations 1 to 6 of 8 steps, some sealed) and a call that changes it."""
    chunks = play(iterations=7)
    store = _open(tmp_path / "before")
    for chunk in chunks[:6]:
        store.append(chunk)
    if request.param in ("truncate sealed", "truncate split", "quarantine"):
        store.seal(4)
    if request.param == "quarantine":
        segment = next((tmp_path / "before").glob("segment-*"))
        segment.write_bytes(segment.read_bytes()[:-1])
    if request.param == "rebuild":
        manifest = tmp_path / "before" / "manifest.jsonl"
        lines = manifest.read_bytes().splitlines(keepends=True)
        manifest.write_bytes(b"".join([*lines[:3], b"?" + lines[3], *lines[4:]]))
    calls: dict[str, Callable[[ReplayStore], object]] = {
        "append": lambda store: store.append(chunks[6]),
        "truncate": lambda store: store.truncate(3),
        "truncate sealed": lambda store: store.truncate(2),
        "truncate split": lambda store: store.truncate(1),
        "seal": lambda store: store.seal(3),
        "seal two segments": lambda store: store.seal(6),
        "quarantine": _quarantine_all,
        "rebuild": _quarantine_all,
    }
    return tmp_path / "before", calls[request.param]


@pytest.mark.parametrize("is_lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("scene", CALLS, indirect=True)
def test_a_crash_at_any_call_leaves_the_old_state_or_the_new_one(scene, contents, files_of, tmp_path, is_lazy):
    before, call = scene
    complete = _copy(before, tmp_path / "complete")
    all_calls = Disk(None, is_lazy=is_lazy)
    assert all_calls.under(lambda: call(complete))
    old, new = _seen(_open(before), contents), _seen(complete, contents)
    assert len(all_calls.calls) >= 6
    for fails_at in range(len(all_calls.calls)):
        directory = tmp_path / f"crash-{fails_at}"
        store = _copy(before, directory)
        assert not Disk(fails_at, is_lazy=is_lazy).under(lambda store=store: call(store))
        survivor = _open(_duplicate(directory))
        assert _seen(survivor, contents) in (old, new)
        for store_again in (store, survivor):
            call(store_again)
            assert _seen(store_again, contents) == new
        assert files_of(directory) == files_of(tmp_path / "complete")
        assert _reasons(directory) == _reasons(tmp_path / "complete")


@pytest.mark.parametrize("is_lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("scene", ["append", "truncate split", "seal"], indirect=True)
def test_a_crash_during_recovery_from_a_crash_is_recovered_too(scene, contents, files_of, tmp_path, is_lazy):
    before, call = scene
    complete = _copy(before, tmp_path / "complete")
    all_calls = Disk(None, is_lazy=False)
    all_calls.under(lambda: call(complete))
    old, new = _seen(_open(before), contents), _seen(complete, contents)
    for fails_at in range(len(all_calls.calls)):
        crashed = tmp_path / f"crash-{fails_at}"
        Disk(fails_at, is_lazy=False).under(lambda crashed=crashed: call(_copy(before, crashed)))
        for fails_again_at in count():
            directory = _duplicate(crashed)
            opened = Disk(fails_again_at, is_lazy=is_lazy).under(lambda directory=directory: _open(directory))
            survivor = _open(directory)
            assert _seen(survivor, contents) in (old, new)
            assert not list(directory.glob("*.tmp"))
            if opened:
                break


@pytest.mark.parametrize("is_lazy", [False, True], ids=["eager", "lazy"])
def test_a_store_whose_creation_crashed_is_created_on_the_next_opening(files_of, tmp_path, is_lazy):
    for fails_at in count():
        directory = tmp_path / str(fails_at) / "replay"
        created = Disk(fails_at, is_lazy=is_lazy).under(lambda directory=directory: _open(directory))
        assert _open(directory).state() == StoreState(generation=0, num_steps=0, num_episodes=0)
        assert files_of(directory) == ["manifest.jsonl"]
        if created:
            assert fails_at >= 6  # two directories made, one file written
            break


def test_an_append_is_acknowledged_after_file_name_and_line_are_synced(play, tmp_path):
    store = _open(tmp_path / "replay")
    (chunk,) = play(iterations=1)
    disk = Disk(None, is_lazy=False)
    disk.under(lambda: store.append(chunk))
    file = "chunk-catch-seed0-000001-0000-000000-0008.arrow"
    assert disk.calls == [
        f"write {file}.tmp",
        f"fsync {file}.tmp",
        f"rename {file}",
        "fsync replay",
        "write manifest.jsonl",
        "fsync manifest.jsonl",
    ]


def test_a_line_whose_fsync_failed_is_written_anew_before_its_chunk_is_acknowledged(play, tmp_path):
    store = _open(tmp_path / "replay")
    (chunk,) = play(iterations=1)
    assert not Disk(5, is_lazy=False).under(lambda: store.append(chunk))
    disk = Disk(None, is_lazy=False)
    disk.under(lambda: store.append(chunk))
    assert disk.calls[:4] == [
        "write manifest.jsonl.tmp",
        "fsync manifest.jsonl.tmp",
        "rename manifest.jsonl",
        "fsync replay",
    ]


def test_a_manifest_torn_anywhere_in_its_last_line_loses_no_stored_chunk(play, contents, tmp_path):
    chunks = play(iterations=3, lengths=(2,))
    store = _open(tmp_path / "replay")
    for chunk in chunks:
        store.append(chunk)
    manifest = (tmp_path / "replay" / "manifest.jsonl").read_bytes()
    last_line = manifest[:-1].rindex(b"\n") + 1
    cut = [manifest[:length] for length in range(last_line, len(manifest))]
    holed = [manifest[:-40] + bytes(39) + b"\n", manifest[:last_line] + bytes(20) + manifest[last_line + 20 :]]
    for torn in cut + holed:
        directory = _duplicate(tmp_path / "replay")
        (directory / "manifest.jsonl").write_bytes(torn)
        recovered = _open(directory)
        assert recovered.verify() == []
        # Cut exactly between two lines, the chunk's file is an orphan; later, its line was begun, so it is durable.
        assert contents(recovered) == contents(chunks[:2] if len(torn) == last_line else chunks)
        assert recovered.append(chunks[2]) == store.append(chunks[2])
        assert contents(_open(directory)) == contents(chunks)


def test_unfinished_and_unknown_data_files_are_removed_but_nothing_else(play, contents, files_of, tmp_path):
    chunks = play(iterations=3)
    store = _open(tmp_path)
    for chunk in chunks[:2]:
        store.append(chunk)
    kept = [*files_of(tmp_path), "notes.txt"]
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "chunk-catch-seed0-000003-0000-000000-0008.arrow").write_bytes(b"never acknowledged")
    (tmp_path / "manifest.jsonl.tmp").write_bytes(b"half")
    assert contents(_open(tmp_path)) == contents(chunks[:2])
    assert files_of(tmp_path) == kept


def _quarantine_all(store: ReplayStore) -> None:
    for damage in store.verify():
        if damage.file:
            store.quarantine(damage)


def _seen(store: ReplayStore, contents) -> tuple[object, ...]:
    """Everything a reader can tell: the steps, or which of them are damaged, and the counts."""
    damage = [(damage.file, damage.missing) for damage in store.verify()]
    return (damage or contents(store), store.num_steps, store.num_episodes)


def _reasons(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.glob("quarantine/*.txt")}


def _copy(source: Path, target: Path) -> ReplayStore:
    return _open(Path(shutil.copytree(source, target)))


def _duplicate(source: Path) -> Path:
    """A fresh copy: what the next process would find, while the first lives on."""
    target = source.with_name(source.name + "-copy")
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
