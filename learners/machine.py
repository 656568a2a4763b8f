"""How much memory this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def total_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less where a control group that it is in (of a
    container, a batch job, a service) has a limit."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in _limits():
        with suppress(OSError, ValueError):  # none there, or the word "max"
            found.append(int(limit.read_text()))
    return min(found)


def _limits() -> Iterator[Path]:
    """Files with the limits of its own group and of all around it, in both versions of the kernel's control groups."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        lines = []
    groups = [line.split(":", 2)[1:] for line in lines if line.count(":") >= 2]
    for root, controller, name in (
        (CONTROL_GROUPS, "", "memory.max"),
        (CONTROL_GROUPS / "memory", "memory", "memory.limit_in_bytes"),
    ):
        yield root / name
        for controllers, path in groups:
            if controller in controllers.split(","):
                own = root / path.lstrip("/")
                yield from (each / name for each in (own, *own.parents) if each != root and each.is_relative_to(root))
