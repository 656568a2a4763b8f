"""A page on this machine through which somebody plays: the game, or the agent's dream of it.

Only this machine can reach it, and only who has the link: it holds a token, and no other page can use it (`Host` and
`Origin` are checked). One plays at a time, the window that was opened last. A scene goes on at its own pace; a slow
browser gets fewer pictures, the newest ones, and never more than two of them wait on their way.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from typing import Any

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from actors.envs.environment import PlacesGoals
from learners.algorithm import Aims
from learners.config import FRAME_SIZE
from pipeline.cli import in_one_line
from pipeline.errors import UsageError, first_mistake
from pipeline.trained import Trained
from pipeline.viewer.keys import bindings, choices
from pipeline.viewer.mind import keeps_out, ways_of
from pipeline.viewer.visit import MODES, Command, Visit

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 4096
UNSEEN = 2
"""Pictures that may be on their way to a browser: the next is sent when it says that it has shown one."""
FAREWELL_S = 2.0
"""How long a browser may take to say goodbye."""


class Newest:
    """Room for one message: the next one takes the place of one that nobody has taken."""

    def __init__(self) -> None:
        self._message = b""
        self._is_there = asyncio.Event()

    def put(self, message: bytes) -> None:
        self._message = message
        self._is_there.set()

    async def take(self) -> bytes:
        """Waits for one that was not taken yet."""
        await self._is_there.wait()
        self._is_there.clear()
        return self._message


class Server:
    """Serves one agent at a link that `link` tells, until it is closed."""

    def __init__(self, trained: Trained, title: str) -> None:
        self._trained = trained
        self._title = title
        self._token = secrets.token_urlsafe(24)
        self._socket: web.WebSocketResponse | None = None
        """Of who plays."""
        self._thinking = ThreadPoolExecutor(1, "agent")
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def link(self) -> str:
        return f"http://{HOST}:{self._port}/?token={self._token}"

    async def open(self, port: int) -> None:
        """Raises UsageError, in one line, if the port is in use."""
        app = web.Application(middlewares=[self._only_from_here])
        app.router.add_get("/", self._page)
        app.router.add_get("/play", self._play)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=FAREWELL_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            await self.close()
            raise UsageError(
                f"--port: found {port}, which cannot be listened on ({error}), expected a free one"
            ) from error
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self._dismiss(1001, "python -m pipeline.play has ended")
        if self._runner:
            await self._runner.cleanup()
        self._thinking.shutdown(wait=False, cancel_futures=True)

    @web.middleware
    async def _only_from_here(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        """A page of somebody else's may send a browser here, under another name of this address or with its own
        origin; it does not know the token, and gets nothing with it either."""
        port = "" if self._port == 80 else f":{self._port}"  # browsers leave it out
        ours = {HOST + port, f"localhost{port}"}
        if request.host not in ours:
            raise web.HTTPForbidden(text=f"found the host {request.host[:80]!r}, expected {HOST}:{self._port}\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in ours:
            raise web.HTTPForbidden(text=f"found the origin {origin[:80]!r}, expected none or this page's own\n")
        if not hmac.compare_digest(request.query.get("token", "").encode(errors="replace"), self._token.encode()):
            raise web.HTTPForbidden(text="found a wrong token or none, expected the link as it was printed\n")
        response = await handler(request)
        if not response.prepared:
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["Cache-Control"] = "no-store"
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Content-Security-Policy"] = (
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:;"
                f" connect-src 'self' ws://{request.host}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
            )
        return response

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(
            text=files("pipeline.viewer").joinpath("page.html").read_text("utf-8"), content_type="text/html"
        )

    async def _play(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=10.0, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        await self._dismiss(4001, "another window plays now")
        self._socket = socket
        try:
            await self._serve(socket)
        except* Exception as errors:  # of the game, or a disk: the page goes on, this play does not
            words = f"the agent cannot go on: {in_one_line(errors.exceptions[0])}"
            print(words, file=sys.stderr)
            await socket.close(code=1011, message=words.encode()[:120])
        finally:
            self._socket = None if self._socket is socket else self._socket
        return socket

    async def _dismiss(self, code: int, words: str) -> None:
        """Who plays, if somebody does; without waiting long for an answer."""
        if self._socket:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._socket.close(code=code, message=words.encode()), FAREWELL_S)

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        loop = asyncio.get_running_loop()

        def think(function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
            return loop.run_in_executor(self._thinking, function, *arguments)

        visit: Visit = await think(Visit, self._trained)
        await socket.send_json(self._introduction())
        newest, unseen = Newest(), asyncio.Semaphore(UNSEEN)

        async def send() -> None:
            with suppress(ConnectionError):  # the browser is gone, which the loop below hears, too
                while True:
                    await unseen.acquire()
                    await socket.send_bytes(await newest.take())

        async def tick() -> None:
            due = time.monotonic()
            while True:
                due = max(due + 1.0 / visit.rate, time.monotonic())
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not visit.paused:
                    newest.put(await think(visit.advance))

        newest.put(await think(visit.look))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(send()), group.create_task(tick())]
            async for message in socket:
                if message.type != WSMsgType.TEXT:
                    break
                try:
                    command = Command.model_validate_json(message.data)
                except ValidationError as error:
                    await socket.close(code=1008, message=f"unknown command: {first_mistake(error)}"[:120].encode())
                    break
                if command.seen:
                    unseen.release()
                elif answer := await think(visit.obey, command):
                    newest.put(answer)
            for task in tasks:
                task.cancel()

    def _introduction(self) -> dict[str, Any]:
        names = [name for name, _ in choices(self._trained.game.action_space, self._trained.game.action_names)]
        return {
            "title": self._title,
            "modes": list(MODES),
            "actions": names,
            "bindings": [binding._asdict() for binding in bindings(names)],
            "episodes": self._trained.learner.dataset.episode_lengths().tolist(),
            "size": FRAME_SIZE,
            "goals": isinstance(self._trained.game, PlacesGoals) and isinstance(self._trained.actor, Aims),
            "zones": keeps_out(self._trained),
            "ways": ways_of(self._trained),
            "temperature": self._trained.config.evaluation.temperature,
        }
