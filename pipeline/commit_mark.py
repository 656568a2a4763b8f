"""A run that has committed and whose commits are gone is not a new one: what tells the two apart.

The first commit leaves a mark beside `checkpoints/`. Scores, metrics and steps tell the same, where there are more of
them than there can be before a first commit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learners.durable import write_durably
from pipeline.checkpoint import Checkpoints
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.run_dir import CHECKPOINTS, MARK_FILE, METRICS_FILE, REPLAY, SCORES_FILE, Directory, RunDirectory

TEXT = b"This run has committed: its commits are in checkpoints/, and without any of them no command goes on.\n"


def leave_mark(run: Directory[Any]) -> None:
    """Says beside a commit that there is one, if nothing does yet."""
    if not run.mark_file.is_file():
        write_durably(run.mark_file, TEXT)


def check_commits(path: Path, config: RunConfig) -> None:
    """Raises UsageError, in one line, if the run in `path` has committed and there is no commit.

    Args:
        config: that of the run's last start, which says when its first commit was due.
    """
    checkpoints = Checkpoints(path / CHECKPOINTS, config.checkpoint.keep)
    # Looked for again after the traces were found: who commits meanwhile does so before it leaves any.
    if not checkpoints.paths() and (traces := traces_of_commits(path, config)) and not checkpoints.paths():
        raise UsageError(
            f"{path}: found {' and '.join(traces)}, but {_words(path / CHECKPOINTS)}; expected the run's commits:"
            f" bring {CHECKPOINTS}/ back (is a volume not mounted, or only a part of the run copied?),"
            " or begin a new run in another directory"
        )


def forget_what_was_not_committed(run: RunDirectory, config: RunConfig) -> None:
    """Where a run without a commit goes on under a configuration whose first commit is due earlier: nothing of it
    counts, and what is there would look like traces of commits."""
    if Checkpoints(run.checkpoints, config.checkpoint.keep).paths() or not traces_of_commits(run.path, config):
        return
    run.store(config).clear([])
    write_durably(run.metrics_file, b"")


def traces_of_commits(path: Path, config: RunConfig) -> list[str]:
    """What cannot be there before a run of this configuration has committed, in words."""
    first = min(config.checkpoint.every, config.iterations)
    begun = first + config.iterations_at_once - 1
    traces = [name for name in (MARK_FILE, SCORES_FILE) if (path / name).exists()]
    if _has_more_lines(path / METRICS_FILE, first):
        traces.append(f"{METRICS_FILE} of more than {first} iterations")
    if (last := RunDirectory(path).store(config).newest_iteration()) > begun:
        traces.append(f"steps of iteration {last} in {REPLAY}/")
    return traces


def _has_more_lines(path: Path, count: int) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        while count >= 0 and (piece := file.read(2**20)):
            count -= piece.count(b"\n")
    return count < 0


def _words(checkpoints: Path) -> str:
    if checkpoints.is_dir():
        return f"no commit in {CHECKPOINTS}/"
    if checkpoints.is_symlink():
        return f"{CHECKPOINTS} is a link to nothing"
    return f"{CHECKPOINTS} is not a directory" if checkpoints.exists() else f"no {CHECKPOINTS}/"
