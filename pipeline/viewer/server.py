"""A page on this machine through which somebody plays: the game, or the agent's dream of it.

Only this machine can reach it, and only who has the link: it holds a token, and no other page can use it (`Host` and
`Origin` are checked). One plays at a time, the window that was opened last. A scene goes on at its own pace; a slow
browser gets fewer pictures, the newest ones, and never more than two of them wait on their way.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from math import isfinite
from typing import Annotated, Any, Literal

import numpy as np
from aiohttp import WSMsgType, web
from pydantic import Field, ValidationError

from learners.action_space import Discrete
from learners.config import FRAME_SIZE, Config
from pipeline.cli import in_one_line
from pipeline.errors import UsageError, first_mistake
from pipeline.trained import Trained
from pipeline.viewer.keys import bindings
from pipeline.viewer.scenes import Dreamt, Game, Recorded, Scene, Settings, SideBySide, View

HOST = "127.0.0.1"
MODES = {
    "agent in the game": "game",
    "you in the game": "game",
    "agent in the dream": "dream",
    "you in the dream": "dream",
    "dream beside reality": "beside",
    "stored episodes": "stored",
}
Mode = Literal[
    "agent in the game",
    "you in the game",
    "agent in the dream",
    "you in the dream",
    "dream beside reality",
    "stored episodes",
]
MAX_MESSAGE_BYTES = 4096
UNSEEN = 2
"""Pictures that may be on their way to a browser: the next is sent when it says that it has shown one."""
FAREWELL_S = 2.0
"""How long a browser may take to say goodbye."""
FIRST_RATE = 10.0
"""Steps a second, until somebody asks for others."""


class Command(Config):
    """What a browser may ask for; what it leaves out stays as it is."""

    mode: Mode | None = None
    episode: Annotated[int, Field(ge=0)] | None = None
    """Index of a stored one, together with `step`: where dreams and stored episodes start."""
    anywhere: bool = False
    """They start anywhere again."""
    step: Annotated[int, Field(ge=0)] | None = None
    action: Annotated[int, Field(ge=0)] | None = None
    """Of the keys that are held."""
    sent: float | None = None
    """The browser's clock, which is sent back with the first picture after it."""
    seen: bool = False
    """A picture was shown."""
    paused: bool | None = None
    once: bool = False
    """One step, though it is paused."""
    rate: Annotated[float, Field(ge=0.5, le=60.0)] | None = None
    """Steps a second."""
    temperature: Annotated[float, Field(ge=0.01, le=5.0)] | None = None
    horizon: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Play:
    """What one browser sees and does. A thread of its own calls this, and nobody else: what a message says is of one
    moment."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._settings = Settings(trained.config.evaluation.temperature)
        self._seeds = iter(range(10**9))
        self._mode: Mode = "agent in the game"
        self._sent: float | None = None
        self._note = ""
        """What could not be done, in one line."""
        self._action = next(each.action for each in bindings(trained.game.action_names) if not each.keys)
        self._row: int | None = None
        self._scene = self._make(self._mode)
        self.paused = False
        self.rate = FIRST_RATE

    def obey(self, command: Command) -> bytes | None:
        """A message, if there is a reason for one before the next step."""
        try:
            return self._obey(command)
        except UsageError as error:
            self._note = str(error)
            return self.look()

    def advance(self) -> bytes:
        """The message after one step more."""
        return self._message(self._scene.step(self._action if self._mode.startswith("you") else None))

    def look(self) -> bytes:
        """The message of the moment that it is."""
        return self._message(self._scene.view())

    def _obey(self, command: Command) -> bytes | None:
        self._note = ""
        self._settings.temperature = command.temperature or self._settings.temperature
        self._settings.horizon = command.horizon or self._settings.horizon
        self.rate = command.rate or self.rate
        self.paused = self.paused if command.paused is None else command.paused
        self._sent = self._sent if command.sent is None else command.sent
        if command.action is not None:
            if command.action >= (count := len(self._trained.game.action_names)):
                raise UsageError(f"action: found {command.action}, expected 0 to {count - 1}")
            self._action = command.action
        if command.episode is not None:
            try:
                self._row = self._trained.learner.dataset.row(command.episode, command.step or 0)
            except IndexError:
                raise UsageError(f"found no step {command.step or 0} of episode {command.episode}") from None
        self._row = None if command.anywhere else self._row
        mode, moves = command.mode or self._mode, command.anywhere or command.episode is not None
        if command.mode or (moves and MODES[mode] != "game"):
            self._scene, self._mode = self._make(mode), mode
            return self.look()
        if command.once:
            return self.advance()
        return None if command.paused is None else self.look()

    def _make(self, mode: Mode) -> Scene:
        """Raises UsageError if the agent cannot be seen in this way."""
        kind, seed = MODES[mode], next(self._seeds)
        if mode.startswith("you") and not isinstance(space := self._trained.game.action_space, Discrete):
            raise UsageError(f"found actions that are {space}, expected some to choose from, for keys to make them")
        if kind == "game":
            return Game(self._trained, self._settings, seed)
        if kind == "dream":
            return Dreamt(self._trained, self._settings, seed, self._row)
        dataset = self._trained.learner.dataset
        row = self._row or dataset.row(int(np.random.default_rng(seed).integers(dataset.num_episodes)), 0)
        if kind == "beside":
            return SideBySide(self._trained, self._settings, seed, row)
        return Recorded(self._trained, row)

    def _message(self, view: View) -> bytes:
        """Length of a header as 4 bytes, the header in JSON, and of each picture 64 × 64 × 3 bytes, rows from the
        top."""
        header = {
            "pictures": list(view.pictures),
            "step": view.step,
            "score": view.score if isfinite(view.score) else None,
            "action": view.action,
            "ended": view.ended,
            "value": view.value if view.value is not None and isfinite(view.value) else None,
            "probabilities": [round(each, 4) if isfinite(each) else 0.0 for each in view.probabilities],
            "errors": [round(each, 5) for each in view.errors],
            "mode": self._mode,
            "paused": self.paused,
            "sent": self._sent,
            "note": self._note,
        }
        self._sent = None
        text = json.dumps(header, allow_nan=False).encode()
        pictures = [np.ascontiguousarray(each.transpose(1, 2, 0)).tobytes() for each in view.pictures.values()]
        return struct.pack("<I", len(text)) + text + b"".join(pictures)


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

        play: Play = await think(Play, self._trained)
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
                due = max(due + 1.0 / play.rate, time.monotonic())
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not play.paused:
                    newest.put(await think(play.advance))

        newest.put(await think(play.look))
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
                elif answer := await think(play.obey, command):
                    newest.put(answer)
            for task in tasks:
                task.cancel()

    def _introduction(self) -> dict[str, Any]:
        names = self._trained.game.action_names
        return {
            "title": self._title,
            "modes": list(MODES),
            "actions": names,
            "bindings": [binding._asdict() for binding in bindings(names)],
            "episodes": self._trained.learner.dataset.episode_lengths().tolist(),
            "size": FRAME_SIZE,
            "temperature": self._trained.config.evaluation.temperature,
        }
