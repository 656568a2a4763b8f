"""Reading what may be anything: only regular files are opened, of a bounded size; JSON of a bounded depth.

A pipe, a device, a directory or a file that is too large is an OSError that says so, at once; content that is not what
it should be is a ValueError in one line.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 8 << 30
"""Of a file that grows with a run or its networks: metrics of a million iterations, weights."""
MOST_TEXT_BYTES = 256 << 20
"""Of one that does not: settings, scores, the state of a commit."""


def open_regular(path: Path, flags: int = 0) -> int:
    """A descriptor to read from; `flags` may be O_NOFOLLOW. Raises OSError unless it is a regular file."""
    no_file = OSError(errno.EINVAL, "it is not a regular file", str(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link that must not be followed, or leads round; a socket
            raise no_file from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise no_file
    return descriptor


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content. Raises OSError if it cannot be read, is not a regular file, or larger than `most` bytes."""
    with open(open_regular(path), "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise OSError(errno.EFBIG, f"it has {size} bytes, expected at most {most}", str(path))
        return file.read(most)


def read_text(path: Path) -> bytes:
    """The content of a file that never grows large. Raises OSError, as `read_file`."""
    return read_file(path, MOST_TEXT_BYTES)


def parse_json(data: bytes | str) -> Any:
    """What it says. Raises ValueError, in one line, if it is no JSON (NaN is none), or nested too deep."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(name: str) -> None:
    raise ValueError(f"found {name}, expected a finite number")
