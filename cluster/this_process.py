"""Every process of a run as an object of this one, without Ray: for a debugger, a notebook, a test.

A call is done when it returns, so a run's calls come one after another, with the threads that each process would have.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster.errors import ClusterError
from cluster.process import Placement, Process, Resources, num_cores, worker_environment
from learners.machine import total_memory

TORCH_IS_LOADED = (
    "torch is loaded already, perhaps with other threads than a process of its own would have: the last bits of results"
    " may differ from those of a run under Ray"
)


def prepare(threads: int) -> bool:
    """Gives this process the environment of one that computes; False if it came too late, torch being loaded.

    How memory is kept (see `worker_environment`) is settled when a process starts: that part only reaches its children.
    A second call leaves the environment as it is: what torch reads of it, it has read.
    """
    global _was_in_time
    if _was_in_time is None:
        os.environ.update(worker_environment(threads))
        _was_in_time = "torch" not in sys.modules
    return _was_in_time


_was_in_time: bool | None = None


@dataclass(frozen=True)
class Done:
    """What came of a call."""

    value: Any = None
    error: Exception | None = None

    def get(self) -> Any:
        if self.error:
            raise self.error
        return self.value


class LocalProcess:
    """A process that is an object here."""

    def __init__(
        self,
        name: str,
        build: Callable[[], Any],
        threads: int,
        uninterrupted: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.name = name
        self._build = build
        self._threads = threads
        self._uninterrupted = uninterrupted
        self._instance = self._with_threads(build)

    def call(self, method: str, *args: Any, num_returns: int = 1, **kwargs: Any) -> Any:
        try:
            found = {name: _value(each) for name, each in kwargs.items()}
            called = partial(getattr(self._instance, method), *map(_value, args), **found)
            with self._uninterrupted():  # a stop waits until it is done
                value = self._with_threads(called)
        except Exception as error:
            done = [Done(error=error)] * num_returns
        else:
            done = [Done(value)] if num_returns == 1 else [Done(each) for each in value]
        return done[0] if num_returns == 1 else done

    def replace(self) -> None:
        self.close()
        self._instance = self._with_threads(self._build)

    def close(self) -> None:
        """As the end of a process does: lets go of what the object holds."""
        if hasattr(self._instance, "close"):
            self._instance.close()

    def _with_threads(self, what: Callable[[], Any]) -> Any:
        """With those of this process."""
        torch = sys.modules.get("torch")  # what does not compute does without
        if torch is None:
            return what()
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            return what()
        finally:
            torch.set_num_threads(before)


class ThisProcess:
    """Processes that cannot be lost, on a cluster of one machine that is all theirs."""

    def __init__(self, uninterrupted: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Calls happen within `uninterrupted()`: that of StopSignals lets a stop take effect between them."""
        self._uninterrupted = uninterrupted
        self._started: list[LocalProcess] = []

    def nodes(self) -> list[Resources]:
        import torch  # only a run with a GPU has to know, and that loads it next

        return [{"CPU": float(num_cores()), "GPU": float(torch.cuda.device_count()), "memory": float(total_memory())}]

    def reserve(self, bundles: Sequence[Resources], labels: Sequence[Mapping[str, str]] | None = None) -> None:
        """Takes turns on what there is."""

    def start(self, name: str, cls: type, *args: Any, placement: Placement, **kwargs: Any) -> LocalProcess:
        """Raises: ClusterError, in one line, if it cannot be built; OSError if the disk fails."""
        try:
            process = LocalProcess(name, partial(cls, *args, **kwargs), placement.threads, self._uninterrupted)
        except OSError:
            raise
        except Exception as error:
            raise ClusterError(f"the {name} cannot start: {error}") from error
        self._started.append(process)
        return process

    def put(self, value: Any) -> Done:
        return Done(value)

    async def arrival(self, references: Any, what: str, timeout_s: float) -> Any:
        await asyncio.sleep(0)  # another iteration may go on
        return references.get() if isinstance(references, Done) else [each.get() for each in references]

    def find_lost(self, processes: Iterable[Process], timeout_s: float) -> list[Process]:
        return []

    def await_reserved(self, timeout_s: float) -> None:
        """Nothing can have gone."""

    def close(self) -> None:
        """Ends all of them."""
        for process in self._started:
            process.close()

    def host_of(self, placement: Placement) -> str:
        return "127.0.0.1"


def _value(argument: Any) -> Any:
    return argument.get() if isinstance(argument, Done) else argument
