"""A real browser without a window, driven by the DevTools protocol: what a page looks like, and what it asks for."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HINT = "found no Chromium, expected one on the PATH: on Debian, apt-get install chromium"
TIMEOUT_S = 60.0


@dataclass
class Page:
    """What was seen of a page once it had loaded."""

    requests: list[str] = field(default_factory=list)
    """URLs of everything it asked for, itself first."""
    complaints: list[str] = field(default_factory=list)
    """Of its console."""
    values: list[Any] = field(default_factory=list)
    """Of the expressions that were asked for."""
    screenshot: bytes = b""
    """PNG, of the whole page."""


class Browser:
    """A context: the browser ends with it. A test that needs one is skipped where there is none."""

    def __enter__(self) -> Self:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.skip(HINT)
        self._profile = Path(tempfile.mkdtemp())
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--remote-debugging-port=0", f"--user-data-dir={self._profile}"]
        self._process = subprocess.Popen(
            [program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._port = self._await_port()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def look_at(self, page: Path | str, width: int, height: int, *expressions: str, media: str = "screen") -> Page:
        """Opens a file or a URL in a window of so many CSS pixels, and evaluates JavaScript there; promises are waited
        for."""
        url = page if isinstance(page, str) else page.absolute().as_uri()
        return asyncio.run(asyncio.wait_for(self._look_at(url, width, height, expressions, media), TIMEOUT_S))

    async def _look_at(self, url: str, width: int, height: int, expressions: tuple[str, ...], media: str) -> Page:
        page, number = Page(), 0
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://127.0.0.1:{self._port}/json/new?about:blank") as answer:
                target = await answer.json()
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:

                async def receive() -> dict[str, Any]:
                    message = json.loads((await socket.receive()).data)
                    parameters = message.get("params", {})
                    if message.get("method") == "Network.requestWillBeSent":
                        page.requests.append(parameters["request"]["url"])
                    elif message.get("method") == "Runtime.consoleAPICalled":
                        page.complaints.append(str(parameters["args"]))
                    elif message.get("method") == "Log.entryAdded":
                        page.complaints.append(parameters["entry"]["text"])
                    elif message.get("method") == "Runtime.exceptionThrown":
                        page.complaints.append(parameters["exceptionDetails"]["text"])
                    return message

                async def call(method: str, **parameters: Any) -> dict[str, Any]:
                    nonlocal number
                    number += 1
                    await socket.send_json({"id": number, "method": method, "params": parameters})
                    while (message := await receive()).get("id") != number:
                        pass
                    assert "error" not in message, message
                    return message["result"]

                for domain in ("Page", "Network", "Log", "Runtime"):
                    await call(f"{domain}.enable")
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
                await call("Emulation.setDeviceMetricsOverride", **size)
                await call("Emulation.setEmulatedMedia", media=media)
                await call("Page.navigate", url=url)
                while (await receive()).get("method") != "Page.loadEventFired":
                    pass
                for expression in expressions:
                    found = await call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
                    assert "exceptionDetails" not in found, found
                    page.values.append(found["result"].get("value"))
                picture = await call("Page.captureScreenshot", captureBeyondViewport=True)
                page.screenshot = base64.b64decode(picture["data"])
            async with session.put(f"http://127.0.0.1:{self._port}/json/close/{target['id']}"):
                pass
        return page

    def _await_port(self) -> int:
        announced = self._profile / "DevToolsActivePort"
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end and self._process.poll() is None:
            if announced.exists() and (lines := announced.read_text().splitlines()):
                return int(lines[0])
            time.sleep(0.05)
        raise RuntimeError(f"the browser did not start; it ended with {self._process.poll()}")
