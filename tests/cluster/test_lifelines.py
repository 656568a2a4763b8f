"""A head that is silent for too long ends every wait, however short each is; one that comes back ends none.

With real processes of Ray: tests/faults/test_head.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import ray

from cluster import lifelines
from cluster.errors import GoneError
from cluster.lifelines import Lifelines

PATIENCE_S = 60.0


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=512)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The head's and the raylet's."""
    monkeypatch.setattr(lifelines, "BEAT_S", 0.02)
    monkeypatch.setattr(lifelines, "HEAD_PATIENCE_S", 0.5)
    head, own = listening(), listening()
    context = SimpleNamespace(gcs_address=f"127.0.0.1:{head.getsockname()[1]}", get_node_id=lambda: "here")
    node = {"NodeID": "here", "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": own.getsockname()[1]}
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "elsewhere"}, node])
    yield head, own
    head.close()
    own.close()


async def wait_again_and_again(held: Lifelines, each_s: float, total_s: float) -> str:
    async def wait() -> str:
        await asyncio.sleep(each_s)
        return "there"

    loop = asyncio.get_running_loop()
    end = loop.time() + total_s
    while loop.time() < end:
        assert await held.hold(wait()) == "there"
    return "all waits ended"


@pytest.mark.parametrize("each_s", [0.005, 0.3])
def test_a_head_that_stays_silent_ends_long_waits_and_short_ones(
    sockets: tuple[socket.socket, socket.socket], each_s: float
):
    held = Lifelines()
    assert asyncio.run(wait_again_and_again(held, each_s, 1.0)) == "all waits ended"
    sockets[0].close()
    with pytest.raises(GoneError, match=r"^the head node of the cluster, 127.0.0.1:\d+, does not answer any more$"):
        asyncio.run(wait_again_and_again(held, each_s, PATIENCE_S))


def test_a_head_that_comes_back_ends_no_wait(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lifelines, "HEAD_PATIENCE_S", PATIENCE_S)
    head, held = sockets[0], Lifelines()
    port = head.getsockname()[1]
    head.close()
    assert asyncio.run(wait_again_and_again(held, 0.1, 0.5)) == "all waits ended"
    assert held._silent_since is not None
    with listening(port):
        asyncio.run(wait_again_and_again(held, 0.1, 0.5))
    assert held._silent_since is None


def test_a_raylet_where_nobody_listens_any_more_is_gone_at_once(sockets: tuple[socket.socket, socket.socket]):
    held = Lifelines()
    held.check()
    sockets[1].close()
    with pytest.raises(GoneError, match=r"^the Ray of this machine, its raylet, is gone$"):
        held.check()


def test_whatever_else_keeps_a_connection_from_being_made_is_no_death(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    tried: list[object] = []

    def no_more_files(address: object, **_: object) -> None:
        tried.append(address)
        raise OSError("too many open files")

    held = Lifelines()
    monkeypatch.setattr(socket, "create_connection", no_more_files)
    held.check()
    assert ("127.0.0.1", sockets[1].getsockname()[1]) in tried


def test_what_could_not_be_reached_from_the_beginning_on_is_not_watched(sockets: tuple[socket.socket, socket.socket]):
    for each in sockets:
        each.close()
    held = Lifelines()
    assert asyncio.run(wait_again_and_again(held, 0.3, 1.0)) == "all waits ended"
