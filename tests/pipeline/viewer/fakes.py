"""A server with an agent that takes a second to train, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.train import main as train
from pipeline.trained import Trained, load
from pipeline.viewer.server import Server

PRESETS = {"iris": "debug", "delta-iris": "delta-iris-debug", "jepa": "jepa-debug"}


def trained(path: Path, preset: str, *flags: str) -> Trained:
    assert train([preset, "--in-process", "--run-dir", str(path), *flags]) == 0
    return load(path)


@contextmanager
def serving(agent: Trained) -> Iterator[Server]:
    server, loop = Server(agent, "a title"), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.open(0), loop).result(60)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def header_of(message: bytes | None) -> dict[str, Any]:
    """What a message says beside its pictures."""
    assert message
    (length,) = struct.unpack("<I", message[:4])
    return json.loads(message[4 : 4 + length])
