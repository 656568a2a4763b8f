"""Which iterations are played at once, and who goes first.

Synchronous: one after another. Overlapped: two at a time, so that one is collected while the one before it still
learns; it is collected with the weights of the iteration before that, and in every other way as if they had been played
one after another. So both schedules are exact: a run depends on which it has, not on how fast anything was.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any


def run(program: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run`, also where an event loop runs already, as in a notebook: there, in a thread that is waited for."""
    is_in_loop = True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        is_in_loop = False
    if is_in_loop:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, program).result()
    else:
        asyncio.run(program)


async def play_all(play: Callable[[int], Coroutine[Any, Any, None]], iterations: Iterable[int], at_once: int) -> None:
    """Plays them in order, up to `at_once` at the same time: the next starts when the oldest of them has ended.

    Raises: what the first of them raises that fails; the others are abandoned then.
    """
    running: set[asyncio.Task[None]] = set()
    try:
        for iteration in iterations:
            running.add(asyncio.create_task(play(iteration)))
            while len(running) == at_once:
                running = await _some_finish(running)
        while running:
            running = await _some_finish(running)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _some_finish(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """The others."""
    finished, others = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for each in finished:
        each.result()
    return others


class Turns:
    """Iterations pass through every stage in their order, one after another."""

    def __init__(self, first: int) -> None:
        self._next: defaultdict[str, int] = defaultdict(lambda: first)
        self._moved = asyncio.Condition()

    @asynccontextmanager
    async def of(self, stage: str, iteration: int) -> AsyncIterator[None]:
        """Waits until the iteration before has left the stage."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._next[stage] == iteration)
        yield
        async with self._moved:
            self._next[stage] += 1
            self._moved.notify_all()
