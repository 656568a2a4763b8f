"""Who writes into a directory is alone there, even where its lock file is deleted or its file system is poor."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from learners.directory_lock import LOCK_FILE, DirectoryLock, InUseError


def no_locks_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems do that have none on directories, or none at all."""
    flock = fcntl.flock

    def refuse(descriptor: int, operation: int) -> None:
        if kind == "anything" or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)


def entries(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_a_writer_is_alone_and_readers_are_not(tmp_path: Path):
    writer = DirectoryLock.to_write(tmp_path)
    for lock in (DirectoryLock.to_write, DirectoryLock.to_read):
        with pytest.raises(InUseError, match=f"^{tmp_path} is in use by another process$"):
            lock(tmp_path)
    writer.release()
    readers = [DirectoryLock.to_read(tmp_path), DirectoryLock.to_read(tmp_path)]
    with pytest.raises(InUseError):
        DirectoryLock.to_write(tmp_path)
    for reader in readers:
        reader.release()
    DirectoryLock.to_write(tmp_path).release()


def test_a_deleted_lock_file_lets_no_second_writer_in_and_comes_back(tmp_path: Path):
    writer = DirectoryLock.to_write(tmp_path)
    (tmp_path / LOCK_FILE).unlink()
    with pytest.raises(InUseError):
        DirectoryLock.to_write(tmp_path)
    writer.check()
    assert entries(tmp_path) == [LOCK_FILE]
    writer.check()
    writer.release()


def test_without_locks_on_directories_the_file_keeps_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    no_locks_on("directories", monkeypatch)
    writer = DirectoryLock.to_write(tmp_path)
    for lock in (DirectoryLock.to_write, DirectoryLock.to_read):
        with pytest.raises(InUseError):
            lock(tmp_path)
    (tmp_path / LOCK_FILE).unlink()
    second = DirectoryLock.to_write(tmp_path)
    for _ in range(2):
        with pytest.raises(InUseError, match="is another file than the one locked here"):
            writer.check()
    second.check()
    writer.release()
    (tmp_path / LOCK_FILE).unlink()
    second.check()  # nobody has taken its place: it is put back
    with pytest.raises(InUseError):
        DirectoryLock.to_write(tmp_path)
    second.release()


def test_a_reader_creates_nothing_and_reads_where_nothing_can_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    DirectoryLock.to_read(tmp_path).release()
    DirectoryLock.to_read(tmp_path / "missing").release()
    assert entries(tmp_path) == []
    no_locks_on("anything", monkeypatch)
    DirectoryLock.to_read(tmp_path).release()
    with pytest.raises(OSError, match="No locks available"):
        DirectoryLock.to_write(tmp_path)


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_plain_file_is_no_lock_file(tmp_path: Path, kind: str):
    victim, lock = tmp_path / "victim", tmp_path / "run" / LOCK_FILE
    victim.write_text("do not touch")
    lock.parent.mkdir()
    {"link": lambda: lock.symlink_to(victim), "pipe": lambda: os.mkfifo(lock), "directory": lock.mkdir}[kind]()
    with pytest.raises(OSError, match=r"\.lock'$"):
        DirectoryLock.to_write(lock.parent)
    DirectoryLock.to_read(lock.parent).release()
    assert victim.read_text() == "do not touch"
    lock.rmdir() if kind == "directory" else lock.unlink()
    DirectoryLock.to_write(lock.parent).release()  # the refused one has kept nothing


def test_a_check_that_failed_never_passes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another writer comes between the look and the making of the file."""
    no_locks_on("directories", monkeypatch)
    writer = DirectoryLock.to_write(tmp_path)
    (tmp_path / LOCK_FILE).unlink()
    second = DirectoryLock.to_write(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "lexists", lambda path: False)
        with pytest.raises(InUseError):
            writer.check()
    with pytest.raises(InUseError):
        writer.check()
    second.check()
    second.release()


def test_a_forked_child_does_not_keep_what_was_released(tmp_path: Path):
    writer, (read, write) = DirectoryLock.to_write(tmp_path), os.pipe()
    if not (child := os.fork()):
        os.close(write)
        os.read(read, 1)  # until the test is over
        os._exit(0)
    try:
        writer.release()
        DirectoryLock.to_write(tmp_path).release()
    finally:
        os.close(write)
        os.waitpid(child, 0)
