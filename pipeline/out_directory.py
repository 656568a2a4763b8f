"""The directory that a command leaves a `table.json` and pictures in."""

from __future__ import annotations

import os
from pathlib import Path

from learners.durable import TEMPORARY_SUFFIX
from pipeline.errors import UsageError

TABLE_FILE = "table.json"


def check_out_directory(out: Path) -> None:
    """Raises UsageError, in one line, unless there is none yet, or one with a table or nothing finished in it."""
    try:
        there = next(each for each in (out, *out.parents) if os.path.lexists(each))
        names = [] if there != out else [path.name for path in out.iterdir() if path.suffix != TEMPORARY_SUFFIX]
        is_short = max(len(name.encode()) for name in (*out.parts, "")) <= 255
        is_ours = not names or (out / TABLE_FILE).is_file()
        if is_ours and is_short and there.is_dir() and os.access(there, os.W_OK):
            return
    except (OSError, ValueError):
        pass
    raise UsageError(f"--out: found no place for a directory at {out}, expected none yet, or one of this command's")
