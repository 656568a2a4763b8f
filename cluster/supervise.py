"""Processes that are watched: every wait is bounded and says what it waits for, and what is lost can be replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from cluster.errors import ClusterError, LostError


def wait(reference: Any, what: str, timeout_s: float) -> Any:
    """The value of a reference, or of a list of references.

    Raises: LostError if it did not come in time, its process died or Ray lost it; ClusterError if the process could not
        even start; what the call itself raised, if it did. The last two would only happen again.
    """
    with _as_losses(what, timeout_s):
        return ray.get(reference, timeout=timeout_s)


async def arrival(reference: Any, what: str, timeout_s: float) -> Any:
    """`wait` for those who have other things to do meanwhile."""
    with _as_losses(what, timeout_s):
        async with asyncio.timeout(timeout_s):
            if isinstance(reference, ray.ObjectRef):
                return await reference
            return await asyncio.gather(*reference)


@contextmanager
def _as_losses(what: str, timeout_s: float) -> Iterator[None]:
    """Says what an error of Ray means here."""
    try:
        yield
    except GetTimeoutError as error:
        raise LostError(f"waited {timeout_s:g} s for {what} in vain") from error
    except RayError as error:
        # Ray raises a subclass of the call's own exception, whose text is a traceback; where an argument of the call
        # was lost, that "own" exception is Ray's again.
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, RayError):
            raise cause from error  # which keeps the traceback, for a bug
        if isinstance(cause, RayActorError):
            kind = ClusterError if cause.actor_init_failed else LostError
            raise kind(f"the process died that was to do: {what} ({_reason(cause)})") from error
        raise LostError(f"lost: {what} ({type(cause).__name__}: {_reason(cause)})") from error
    except TimeoutError as error:  # of `arrival`; one that the call raised was a RayError
        raise LostError(f"waited {timeout_s:g} s for {what} in vain") from error


class Worker:
    """A process that can be started again, from the arguments it was first given."""

    def __init__(self, name: str, start: Callable[[], ActorHandle]) -> None:
        """Starts it. `name` is for messages."""
        # Ray would restart an actor by itself, but then its next call meets an empty state and does not know.
        self.name = name
        self._start = start
        self.actor = start()

    def replace(self) -> None:
        """Starts it again; what is left of the old process ends."""
        ray.kill(self.actor)
        self.actor = self._start()


def find_lost(workers: Iterable[Worker], timeout_s: float) -> list[Worker]:
    """Those that are dead or do not answer; the others have finished what they were doing."""
    answers = [(worker, worker.actor.__ray_ready__.remote()) for worker in workers]
    lost = []
    for worker, answer in answers:
        try:
            wait(answer, f"an answer of the {worker.name}", timeout_s)
        except LostError:
            lost.append(worker)
    return lost


def _reason(error: Exception) -> str:
    """Ray's last line: what raised in a constructor, or how a process ended; before it come ids and tracebacks, after
    it advice."""
    line = str(error).strip().rpartition("\n")[2]
    return shorten(line.partition(" Worker exit detail:")[0], 200, placeholder=" …")
