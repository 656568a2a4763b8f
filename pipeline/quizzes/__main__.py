"""`python -m pipeline.quizzes [PRESET] [--dotted.flag value …]`: models that make up quizzes for each other.

Several small GPTs learn a world of tasks, then make up quizzes that all but one of them solve, and learn those, too.
The same command again goes on after the last round. `python -m pipeline.quizzes verify RUN_DIR` checks all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cluster.this_process import TORCH_IS_LOADED, prepare
from pipeline.cli import Positional, Tool, command, parse_arguments, parse_preset
from pipeline.quizzes.config import QuizzesConfig, presets
from pipeline.quizzes.directory import SocietyDirectory

PROGRAM = "python -m pipeline.quizzes"
DEFAULT = "quizzes-small"


class Launch(Tool):
    """A society and how to start it; only `config` is part of what it is."""

    config: QuizzesConfig
    run_dir: Path | None = None
    """Where it lives; default: runs/<preset>-seed<seed>. An existing one of the same settings is gone on with."""
    allow_open_cluster: bool = False
    """Join the cluster at RAY_ADDRESS even if others can reach it and it asks for no token: they can run code there."""
    in_process: bool = False
    """All models in this process, without Ray: for a debugger or a notebook. It computes the same."""


class Checked(Tool):
    """Checks every stored byte of a society, and that its counts add up."""

    run_dir: Annotated[Path, Positional()]
    """What `python -m pipeline.quizzes` wrote."""
    digest: bool = False
    """Also print one hash of all that it is: weights, culture, accuracies, metrics."""


def main(argv: Sequence[str] | None = None) -> int:
    line = list(sys.argv[1:] if argv is None else argv)
    if line[:1] == ["verify"]:
        arguments = parse_arguments(Checked, line[1:], f"{PROGRAM} verify")
        from pipeline.quizzes.verify import verify  # loads numpy

        directory = SocietyDirectory.open(arguments.run_dir)
        try:
            return verify(directory, arguments.digest)
        finally:
            directory.close()
    if not line or (line[0].startswith("-") and line[0] not in ("-h", "--help")):
        line = [DEFAULT, *line]
    return run(parse_preset(Launch, line, PROGRAM, presets))


def run(launch: Launch) -> int:
    """Until the last round or a stop signal; the exit code."""
    config = launch.config
    if launch.in_process and not prepare(threads=1):
        print(TORCH_IS_LOADED)
    path = launch.run_dir or Path("runs") / f"{config.preset}-seed{config.seed}"
    directory = SocietyDirectory.claim(path, config)
    try:
        # What follows loads torch and ray, which a mistyped flag and --help should not wait for.
        from pipeline.quizzes.start import start

        return start(launch.config, directory, in_process=launch.in_process, allow_open=launch.allow_open_cluster)
    finally:
        directory.close()


if __name__ == "__main__":
    command(main)
