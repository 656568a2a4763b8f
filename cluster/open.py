"""Where a command's processes are: on a Ray cluster, or in the command's own process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from cluster.config import ProcessesConfig
from cluster.process import Processes


@contextmanager
def open_processes(
    config: ProcessesConfig,
    *,
    in_process: bool = False,
    allow_open: bool = False,
    directory: Path | None = None,
    uninterrupted: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Processes]:
    """A place for processes while the context lasts.

    Args:
        in_process: in this process, where calls happen within `uninterrupted()`; else on a cluster that is joined or
            started (`connect`).
        allow_open: join a cluster, too, that others can reach and that has asked for no token.
        directory: that every node of a cluster has to be able to use.

    Raises: ClusterError, in one line.
    """
    if in_process:
        from cluster.this_process import ThisProcess

        with closing(ThisProcess(uninterrupted)) as processes:
            yield processes
        return
    from cluster.connect import connect, disconnect  # loads Ray
    from cluster.nodes import check_nodes
    from cluster.ray_processes import RayProcesses

    try:
        if connect(config, allow_open=allow_open) and directory:
            check_nodes(directory, config.start_timeout_s)
        yield RayProcesses(config.start_timeout_s)
    finally:
        disconnect()
