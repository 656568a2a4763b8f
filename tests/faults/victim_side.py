"""What is called within a process that is to die; it has to load this file for it, and little else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from learners import durable


def pid(_: object) -> int:
    return os.getpid()


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(_: object, disk_call: str, count: int, die: Callable[[], None] = _kill_this_process) -> None:
    """The process dies when it makes the call for the `count`-th time from now on, before the effect."""
    original, left = getattr(durable, disk_call), [count]

    def call(*args: object) -> object:
        left[0] -= 1
        if not left[0]:
            die()
        return original(*args)

    setattr(durable, disk_call, call)
