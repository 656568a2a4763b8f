"""SIGTERM and Ctrl-C: stop where the last commit stands, but never in the middle of one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A stop signal arrived. Not an Exception: no handler of errors may swallow it.

    A KeyboardInterrupt, because that is all Ray lets out of `ray.get` when a signal arrives there, and as a plain one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopSignals:
    """Within its context the first stop signal raises Stopped in the main thread, or waits until `deferred` is over."""

    def __init__(self) -> None:
        self._deferring = False
        self._waiting: int | None = None

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._arrive) for number in _SIGNALS]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)
        if kind is KeyboardInterrupt and self._waiting is not None:
            raise Stopped(self._waiting)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A stop within takes effect at its end; one within another, at the end of the outer one."""
        # A blocked signal mask would not do: another thread of the process takes the signal, and Python runs its
        # handler in the main thread all the same.
        before, self._deferring = self._deferring, True
        try:
            yield
        finally:
            self._deferring = before
        if not before:
            self.check()

    def check(self) -> None:
        """Raises Stopped if a signal has arrived in something deferred that then failed."""
        if self._waiting is not None:
            raise Stopped(self._waiting)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        if self._waiting is not None:
            return
        self._waiting = number
        if not self._deferring:
            raise Stopped(number)
