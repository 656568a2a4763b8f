"""`python -m pipeline.play [RUN_DIR]`: a page in which an agent is watched, and the game or its dream is played.

Prints a link for a browser on this machine; Ctrl-C ends it. Works without Ray, and changes nothing in the run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cluster.this_process import prepare
from learners.directory_lock import DirectoryLock, InUseError
from pipeline.cli import Positional, Tool, command, parse_arguments
from pipeline.errors import UsageError
from pipeline.run_dir import CHECKPOINTS, CONFIG_FILE

SHIPPED = Path(__file__).parent / "viewer" / "catch"
"""The run of a Catch agent; `make shipped-agent` made it."""


class Arguments(Tool):
    """Opens a page on this machine in which a run's agent plays, or you do: in the game, or in the agent's dream of it.

    Modes: the agent or you in the game; the agent or you in the dream; a dream beside what really happened, under the
    same actions; stored episodes. Actions are made with the arrows (or W, A, S, D), the space bar and what the page
    shows.
    """

    run_dir: Annotated[Path, Positional()] = Path("runs")
    """What `python -m pipeline.train` wrote, or a directory with runs in it, of which the newest is taken that is not
    in training; its last commit plays. If there is none in the default one: a Catch agent that comes with this
    package."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Of the page, on this machine's loopback address; 0: any that is free."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, "python -m pipeline.play")
    run_dir = newest_run(arguments.run_dir)
    prepare(threads=1)  # for one moment after another the networks of a small agent gain nothing from more
    # What follows loads torch and the games, which a mistyped flag and --help should not wait for.
    from pipeline.trained import load
    from pipeline.viewer.server import Server

    trained = load(run_dir, arguments.allow_module)
    title = trained.title
    print(f"run directory {run_dir}")

    async def serve() -> None:
        server = Server(trained, title)
        await server.open(arguments.port)
        print(f"{title}\nopen {server.link}\nin a browser on this machine; Ctrl-C ends it", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
    return 0


def newest_run(path: Path) -> Path:
    """The run at a path, or of those below it that are not in training the one which committed last.

    Raises: UsageError if there is none.
    """
    if (path / CONFIG_FILE).exists():
        return path
    runs = [config.parent for depth in ("*", "*/*") for config in path.glob(f"{depth}/{CONFIG_FILE}")]
    begun = [run for run in runs if any((run / CHECKPOINTS).glob("[0-9]*"))]
    for run in sorted(begun, key=lambda run: (run / CHECKPOINTS).stat().st_mtime, reverse=True):
        try:
            DirectoryLock.to_read(run).release()
            return run
        except InUseError:
            print(f"passed over, because it is in training: {run}")
    if path == Arguments().run_dir:
        return SHIPPED
    raise UsageError(f"RUN_DIR: found no run at {path} or below it, expected one with a commit that is not in training")


if __name__ == "__main__":
    command(main)
