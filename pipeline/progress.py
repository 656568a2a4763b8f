"""What a person sees while a run works: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL_S = 5.0


class Reporter:
    """Says which iteration and phase is running; everything it prints outlasts the bar."""

    def __init__(self, num_iterations: int) -> None:
        self._num_iterations = num_iterations
        self._console = Console(highlight=False, soft_wrap=True)
        self._last_plain = time.monotonic()
        self._progress: Progress | None = None
        if sys.stdout.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._task = self._progress.add_task("starting", total=1)
            self._progress.start()

    def line(self, text: str) -> None:
        self._console.print(text, markup=False)
        self._last_plain = time.monotonic()

    def phase(self, iteration: int, name: str, done: int, total: int) -> None:
        """`done` of `total` units of a phase (steps, gradient steps, episodes) are done."""
        text = f"iteration {iteration}/{self._num_iterations} {name}"
        if self._progress is not None:
            self._progress.update(self._task, description=text, completed=done, total=total)
        elif time.monotonic() - self._last_plain > PLAIN_INTERVAL_S:
            self.line(f"{text} {done}/{total}")

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
