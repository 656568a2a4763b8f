"""Who may play, what a browser may say, and that nobody waits for old pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from actors.envs.catch import Catch
from pipeline.errors import UsageError
from pipeline.viewer.server import Newest, Server
from pipeline.viewer.visit import MODES, Mode
from tests.pipeline.viewer.fakes import header_of, serving, trained

PATIENCE_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(trained(tmp_path_factory.mktemp("run") / "run", "debug")) as server:
        yield server


def socket_of(server: Server) -> str:
    return server.link.replace("/?", "/play?")


async def picture(socket: aiohttp.ClientWebSocketResponse) -> tuple[dict[str, Any], np.ndarray]:
    """The next one, as a page takes it."""
    data = await asyncio.wait_for(socket.receive_bytes(), PATIENCE_S)
    await socket.send_json({"seen": True})
    header = header_of(data)
    count = len(header["pictures"])
    return header, np.frombuffer(data[-count * 64 * 64 * 3 :], np.uint8).reshape(count, 64, 64, 3)


def test_each_way_of_looking_shows_something_that_moves(server: Server):
    async def look() -> dict[Mode, list[Any]]:
        found: dict[Mode, list[Any]] = {}
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as socket:
            hello = await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
            assert hello["modes"] == list(MODES)
            await socket.send_json({"rate": 60.0})
            for mode in MODES:
                await socket.send_json({"mode": mode})
                found[mode] = []
                while len(found[mode]) < 4:
                    header, frames = await picture(socket)
                    if header["mode"] == mode:
                        assert not header["note"]
                        found[mode].append((header, frames))
        return found

    found = asyncio.run(look())
    assert found.keys() == MODES.keys()
    for mode, seen in found.items():
        pictures = {"game": 2, "dream": 1, "beside": 2, "stored": 1}[MODES[mode]]
        assert {len(frames) for _, frames in seen} == {pictures}
        assert len({header["step"] for header, _ in seen}) > 1, mode
        assert len({frames.tobytes() for _, frames in seen}) > 1, mode
    beside = [header for header, _ in found["dream beside reality"]]
    assert [len(header["errors"]) for header in beside] == [1 + header["step"] for header in beside]
    assert sum(found["agent in the game"][0][0]["probabilities"]) == pytest.approx(1.0, abs=1e-3)


def test_what_you_press_is_what_happens(server: Server):
    async def press(mode: str) -> list[int]:
        actions = []
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as socket:
            await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
            await socket.send_json({"paused": True, "mode": mode})
            for action in (2, 0, 1):
                await socket.send_json({"action": action, "sent": 7.0})
                await socket.send_json({"once": True})
                while (header := (await picture(socket))[0])["sent"] is None:
                    pass
                actions.append(header["action"])
        return actions

    assert asyncio.run(press("you in the game")) == [2, 0, 1]
    assert asyncio.run(press("you in the dream")) == [2, 0, 1]


@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [
        ("/?token=wrong", {}, "found a wrong token or none"),
        ("/", {}, "found a wrong token or none"),
        ("/play", {}, "found a wrong token or none"),
        ("{}", {"Host": "evil.example"}, "found the host 'evil.example'"),
        ("{}", {"Origin": "http://evil.example"}, "found the origin 'http://evil.example'"),
        ("{}", {"Origin": "null"}, "found the origin 'null'"),
    ],
)
def test_who_is_not_meant_gets_nothing(server: Server, url: str, headers: dict[str, str], words: str):
    base, _, query = server.link.partition("/?")

    async def ask() -> tuple[int, str]:
        asked = base + url.format(f"/?{query}")
        async with ClientSession() as session, session.get(asked, headers=headers) as answer:
            return answer.status, await answer.text()

    status, text = asyncio.run(ask())
    assert status == 403
    assert text.startswith(words)


def test_a_socket_of_another_page_is_refused(server: Server):
    async def ask() -> None:
        async with ClientSession() as session:
            await session.ws_connect(socket_of(server), headers={"Origin": "http://evil.example"})

    with pytest.raises(WSServerHandshakeError, match="403"):
        asyncio.run(ask())


def test_the_window_that_was_opened_last_plays_and_the_other_is_told_so(server: Server):
    async def two() -> tuple[int | None, str, dict[str, Any]]:
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as first:
            await asyncio.wait_for(first.receive_json(), PATIENCE_S)
            async with session.ws_connect(socket_of(server)) as second:
                await asyncio.wait_for(second.receive_json(), PATIENCE_S)
                while (message := await asyncio.wait_for(first.receive(), PATIENCE_S)).type == WSMsgType.BINARY:
                    pass
                return message.data, str(message.extra), (await picture(second))[0]

    code, words, header = asyncio.run(two())
    assert (code, words) == (4001, "another window plays now")
    assert header["mode"] == "agent in the game"


def test_a_browser_that_shows_nothing_is_sent_two_pictures_and_then_the_newest(server: Server):
    async def be_slow() -> tuple[list[int], int]:
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as socket:
            await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
            await socket.send_json({"rate": 60.0, "episode": 0, "mode": "stored episodes"})
            unseen = [header_of(await asyncio.wait_for(socket.receive_bytes(), PATIENCE_S)) for _ in range(2)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.receive_bytes(), 1.0)
            await socket.send_json({"paused": True})
            await socket.send_json({"seen": True})
            newest = header_of(await asyncio.wait_for(socket.receive_bytes(), PATIENCE_S))
            return [header["paused"] for header in unseen], newest["paused"]

    assert asyncio.run(be_slow()) == ([False, False], True)


def test_what_goes_wrong_in_the_game_is_said_and_the_page_stays(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def broken(*_: object) -> None:
        raise RuntimeError("the ball is gone")

    async def watch() -> tuple[int | None, str]:
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as socket:
            await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
            monkeypatch.setattr(Catch, "step", broken)
            while (message := await asyncio.wait_for(socket.receive(), PATIENCE_S)).type == WSMsgType.BINARY:
                await socket.send_json({"seen": True})
            return socket.close_code, str(message.extra)

    assert asyncio.run(watch()) == (1011, "the agent cannot go on: the ball is gone")
    assert capfd.readouterr().err == "the agent cannot go on: the ball is gone\n"
    monkeypatch.undo()

    async def look_again() -> dict[str, Any]:
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as socket:
            await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
            return (await picture(socket))[0]

    assert asyncio.run(look_again())["step"] == 0


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "{",
        '{"mode": "god"}',
        '{"rate": 1e9}',
        '{"rate": "fast"}',
        '{"unheard": 1}',
        '{"horizon": -1}',
        "[" * 2000,
    ],
)
def test_what_no_page_of_ours_says_ends_the_conversation(server: Server, message: str):
    async def say() -> int | None:
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as socket:
            await socket.send_str(message)
            while (await asyncio.wait_for(socket.receive(), PATIENCE_S)).type in (
                WSMsgType.TEXT,
                WSMsgType.BINARY,
            ):
                pass
            return socket.close_code

    assert asyncio.run(say()) == 1008


@pytest.mark.parametrize("wrong", [{"action": 99}, {"episode": 10**6}, {"episode": 0, "step": 10**6}])
def test_what_is_not_there_is_said_and_play_goes_on(server: Server, wrong: dict[str, int]):
    async def say() -> str:
        async with ClientSession() as session, session.ws_connect(socket_of(server)) as socket:
            await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
            await socket.send_json({"paused": True})
            await socket.send_json(wrong)
            while not (note := (await picture(socket))[0]["note"]):
                pass
            await socket.send_json({"once": True})
            while (await picture(socket))[0]["note"]:
                pass
            return note

    note = asyncio.run(say())
    assert note.startswith(
        ("action: found 99", "found no step 0 of episode 1000000", "found no step 1000000 of episode 0")
    )


def test_a_slow_browser_gets_the_newest_picture_and_no_older_ones():
    async def be_slow() -> tuple[bytes, bytes, bool]:
        newest = Newest()
        for number in range(5):
            newest.put(b"%d" % number)
        first = await newest.take()
        waiting = asyncio.ensure_future(newest.take())
        await asyncio.sleep(0)
        waited = not waiting.done()
        newest.put(b"next")
        return first, await waiting, waited

    assert asyncio.run(be_slow()) == (b"4", b"next", True)


def test_a_port_in_use_is_one_line(server: Server):
    port = int(server.link.partition("/?")[0].rpartition(":")[2])
    other = Server(server._trained, "another")
    with pytest.raises(
        UsageError, match=rf"^--port: found {port}, which cannot be listened on \(.*\), expected a free"
    ):
        asyncio.run(other.open(port))
