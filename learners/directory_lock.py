"""One writer, or any number of readers, in a directory.

The lock lies on the directory itself, which nobody can delete while it is in use. Network file systems keep such a lock
to one machine, and some know none; so a writer holds a lock on the file `.lock` within as well, which they share among
machines. That file can be deleted: a writer asks `check` before it makes anything count.

Readers create nothing: they lock what is there, and where a file system refuses that, they read without a lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Self

LOCK_FILE = ".lock"


class InUseError(OSError):
    """Another process holds the lock."""


class DirectoryLock:
    """Held until `release`, or until the process ends, however that happens."""

    def __init__(self, directory: Path, descriptors: dict[Path, int]) -> None:
        self._directory = directory
        self._descriptors = descriptors  # of what is locked

    @classmethod
    def to_write(cls, directory: Path) -> Self:
        """The only lock there is on an existing directory; the file is made where it is missing.

        Raises: InUseError if others hold one; OSError if neither directory nor file can be locked, or
            what has the file's name is no plain file.
        """
        lock = cls(directory, {})
        try:
            lock._lock(directory, fcntl.LOCK_EX, is_needed=False)
            lock._lock_file()
        except OSError:
            lock.release()
            raise
        return lock

    @classmethod
    def to_read(cls, directory: Path) -> Self:
        """A lock that keeps writers away, as far as the file system has such locks. Raises: InUseError."""
        lock = cls(directory, {})
        try:
            for path in (directory, directory / LOCK_FILE):
                lock._lock(path, fcntl.LOCK_SH, is_needed=False)
        except InUseError:
            lock.release()
            raise
        return lock

    def check(self) -> None:
        """Makes sure that a writer is still the only one; makes the file anew where somebody has deleted it.

        Raises: InUseError if another process has locked a file of that name since.
        """
        path = self._directory / LOCK_FILE
        held = self._descriptors.get(path)
        if not os.path.lexists(path):
            self._close(path)
            self._lock_file()
        elif held is None or not os.path.samestat(os.lstat(path), os.fstat(held)):
            raise InUseError(f"{path} is another file than the one locked here: another process may write there, too")

    def release(self) -> None:
        for path in list(self._descriptors):
            self._close(path)

    def _lock_file(self) -> None:
        self._lock(self._directory / LOCK_FILE, fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT)

    def _lock(self, path: Path, kind: int, flags: int = os.O_RDONLY, *, is_needed: bool = True) -> None:
        try:
            if path != self._directory:
                flags |= os.O_NOFOLLOW | os.O_NONBLOCK  # a named pipe would wait for its other end
            self._descriptors[path] = descriptor = os.open(path, flags, 0o666)
            if not (path == self._directory or stat.S_ISREG(os.fstat(descriptor).st_mode)):
                raise OSError(errno.EINVAL, "not a plain file", str(path))
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            self._close(path)
            if isinstance(error, BlockingIOError):
                raise InUseError(f"{self._directory} is in use by another process") from error
            if is_needed:
                raise

    def _close(self, path: Path) -> None:
        if (descriptor := self._descriptors.pop(path, None)) is not None:
            with suppress(OSError):  # not every file system has locks
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked has the descriptor, too
            os.close(descriptor)
