"""Writing that survives a crash: when one of these functions returns, what it did is on the disk.

A file is replaced whole (temporary name, fsync, rename, fsync of the directory) or grows at its end (write, fsync), so
a crash leaves the old file, the new one, or a torn last line. Every effect on the disk passes through `write`, `fsync`,
`rename` and `unlink` below, the only places where a fault can strike. Errors: OSError, from the system.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"
"""A file with this ending was never finished: whoever owns its directory removes it on opening."""


def write_durably(path: Path, data: bytes) -> None:
    """Makes `data` the content of `path`: all of it or, after a crash, what was there before."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with open(temporary, "wb") as file:
        write(file, data)
        fsync(file.fileno())
    rename_durably(temporary, path)


def append_durably(path: Path, data: bytes) -> None:
    """Adds `data` at the end of `path`; a crash may leave any part of it."""
    with open(path, "ab") as file:
        write(file, data)
        fsync(file.fileno())


def rename_durably(source: Path, target: Path) -> None:
    """Renames a file or directory, replacing a file that has the target's name."""
    rename(source, target)
    for directory in {source.parent, target.parent}:
        fsync_directory(directory)


def remove_durably(paths: Iterable[Path]) -> None:
    """Removes the files; after a crash some of them may still be there."""
    paths = list(paths)
    for path in paths:
        unlink(path)
    for directory in {path.parent for path in paths}:
        fsync_directory(directory)


def make_directory(path: Path) -> None:
    """Makes `path`, and its parents where they are missing."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        fsync_directory(path.parent)


def fsync_file(path: Path) -> None:
    """Brings to the disk what a process that died may have written without its fsync."""
    with open(path, "rb") as file:
        fsync(file.fileno())


def fsync_directory(path: Path) -> None:
    """Makes the names in `path` durable: renames and removals are not, until then."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()


def fsync(descriptor: int) -> None:
    os.fsync(descriptor)


def rename(source: Path, target: Path) -> None:
    os.replace(source, target)


def unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
