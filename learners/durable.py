"""Writing that survives a crash: when one of these functions returns, what it did is on the disk.

A file is replaced whole (temporary name, fsync, rename, fsync of the directory) or grows at its end (write, fsync), so
a crash leaves the old file, the new one, or a torn last line. No link is followed that lies where a file is to be: it
is replaced, or growing it fails. Every effect on the disk passes through `write`, `fsync`, `rename` and `unlink` below,
the only places where a fault can strike. Errors: OSError, from the system.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"
"""A file with this ending was never finished: whoever owns its directory removes it on opening."""
_TEMPORARY_NAME = re.compile(rf"(.+)\.[0-9a-f]{{16}}{re.escape(TEMPORARY_SUFFIX)}")


def write_durably(path: Path, data: bytes) -> None:
    """Makes `data` the content of `path`: all of it or, after a crash, what was there before.

    Under a name that nobody can foresee first, and only if nothing has that name.
    """
    temporary = path.with_name(f"{_stem(path.name)}.{token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "xb") as file:
            write(file, data)
            fsync(file.fileno())
        rename_durably(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def unfinished(directory: Path, name: str) -> list[Path]:
    """Files that `write_durably` has left in `directory` where it was killed while it wrote the file `name`."""
    found = (path for path in directory.glob(f"*{TEMPORARY_SUFFIX}") if path.is_file() and not path.is_symlink())
    return sorted(path for path in found if (match := _TEMPORARY_NAME.fullmatch(path.name)) and match[1] == _stem(name))


def _stem(name: str) -> str:
    """As much of a name as leaves room for the rest of a temporary one in the 255 bytes that file systems allow."""
    return name.encode()[:230].decode(errors="ignore")


def append_durably(path: Path, data: bytes) -> None:
    """Adds `data` at the end of `path`; a crash may leave any part of it. Raises OSError if `path` is a link."""
    with open_to_append(path) as file:
        write(file, data)
        fsync(file.fileno())


def open_to_append(path: Path) -> BinaryIO:
    """The file, made where there is none. Raises OSError if `path` is a link, or a pipe that nobody reads."""
    flags_too = os.O_NOFOLLOW | os.O_NONBLOCK
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags | flags_too, 0o666))


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
