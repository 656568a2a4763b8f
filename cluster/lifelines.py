"""Signs of life of what a process that has joined a cluster cannot do without: its head, and the Ray of its machine.

Where one of them is gone, Ray ends the process sooner or later without a word about the run; so who waits looks before.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import ray

from cluster.errors import GoneError

BEAT_S = 2.0
"""How often they are asked while something is waited for."""
RAYS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
HEAD_PATIENCE_S = float(os.environ.get(RAYS_PATIENCE, "60")) / 2
"""For how long the head may give no sign of life, as it may be replaced: half of the time after which Ray would end
this process."""


class Lifelines:
    """Of this process. Both are ports; one that cannot be reached from the beginning on is not watched."""

    def __init__(self) -> None:
        context = ray.get_runtime_context()
        own = next((node for node in ray.nodes() if node["NodeID"] == context.get_node_id()), None)
        self._own = _reachable(own["NodeManagerAddress"], own["NodeManagerPort"]) if own else None
        host, _, port = context.gcs_address.rpartition(":")
        self._head = _reachable(host.strip("[]"), port)
        self._asked_at = time.monotonic()
        self._silent_since: float | None = None

    def check(self) -> None:
        """Raises GoneError, in one line, if the Ray of this machine is gone: nobody listens there any more. Whatever
        else keeps a connection from being made is no sign of that."""
        if self._own:
            try:
                socket.create_connection(self._own, timeout=BEAT_S).close()
            except ConnectionRefusedError as error:
                raise GoneError("the Ray of this machine, its raylet, is gone") from error
            except OSError:
                pass

    async def hold(self, awaited: Awaitable[Any]) -> Any:
        """What is awaited, as long as there are signs of life. Raises: GoneError."""
        self.check()
        waiting = asyncio.ensure_future(awaited)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # who is not awaited any more
        try:
            await self._listen()
            while not (await asyncio.wait([waiting], timeout=BEAT_S))[0]:
                self.check()
                await self._listen()
            return await waiting
        finally:
            waiting.cancel()

    async def _listen(self) -> None:
        """To the head, once a beat, however short each wait is. Raises GoneError if it has been silent for too long."""
        if not self._head or time.monotonic() - self._asked_at < BEAT_S:
            return
        self._asked_at = time.monotonic()
        try:
            async with asyncio.timeout(BEAT_S):
                _, writer = await asyncio.open_connection(*self._head)
            writer.close()
            self._silent_since = None
        except (OSError, TimeoutError) as error:
            self._silent_since = self._silent_since or self._asked_at
            if time.monotonic() - self._silent_since > HEAD_PATIENCE_S:
                host, port = self._head
                raise GoneError(f"the head node of the cluster, {host}:{port}, does not answer any more") from error


def _reachable(host: str, port: str | int) -> tuple[str, int] | None:
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=BEAT_S):
        return host, int(port)
    return None
