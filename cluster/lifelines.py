"""Signs of life of what a process that has joined a cluster cannot do without: its head, and the Ray of its machine.

Where one of them is gone, Ray ends the process sooner or later without a word about the run; so who waits looks before.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import ray

from cluster.errors import GoneError

BEAT_S = 2.0
"""How often they are asked while something is waited for."""
HEAD_PATIENCE_S = 30.0
"""For how long the head may give no sign of life: it may be replaced. Ray ends this process after 60 s."""


class Lifelines:
    """Of this process. Both are ports; one that cannot be reached from the beginning on is not watched."""

    def __init__(self) -> None:
        context = ray.get_runtime_context()
        self._head = _place(context.gcs_address)
        own = next((node for node in ray.nodes() if node["NodeID"] == context.get_node_id()), None)
        self._own = (own["NodeManagerAddress"], int(own["NodeManagerPort"])) if own else None
        if self._own and not _answers(self._own):
            self._own = None

    def check(self) -> None:
        """Raises GoneError, in one line, if the Ray of this machine is gone."""
        if self._own and not _answers(self._own):
            raise GoneError("the Ray of this machine, its raylet, is gone")

    async def hold(self, awaited: Awaitable[Any]) -> Any:
        """What is awaited, as long as there are signs of life. Raises: GoneError."""
        self.check()
        waiting, silent_s = asyncio.ensure_future(awaited), 0.0
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # who is not awaited any more
        try:
            while not (await asyncio.wait([waiting], timeout=BEAT_S))[0]:
                self.check()
                silent_s = 0.0 if await _answers_in_time(self._head) else silent_s + BEAT_S
                if silent_s > HEAD_PATIENCE_S:
                    host, port = self._head
                    raise GoneError(f"the head node of the cluster, {host}:{port}, does not answer any more")
            return await waiting
        finally:
            waiting.cancel()


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _answers(place: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(place, timeout=BEAT_S):
        return True
    return False


async def _answers_in_time(place: tuple[str, int]) -> bool:
    """Whatever lies between: nothing else waits for it."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(BEAT_S):
            _, writer = await asyncio.open_connection(*place)
        writer.close()
        return True
    return False
