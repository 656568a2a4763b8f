"""One iteration while it is played: what it has come to so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.reports import EpisodeScore
from actors.store_index import Receipt

Metrics = dict[str, Any]


@dataclass
class Play:
    """Filled in phase after phase; what a commit makes durable."""

    iteration: int
    metrics: Metrics
    inspected: Metrics = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
    receipts: list[Receipt] = field(default_factory=list)
    """Of what was collected."""
    collector_states: list[bytes] = field(default_factory=list)
    copies: dict[str, Any] = field(default_factory=dict)
    """References to the parts that have trained, for the groups whose turn is later."""
    evaluation: list[EpisodeScore] = field(default_factory=list)
    directory: Path | None = None
    """Of its commit, before it is one; None if it will not be."""
    saved: list[Any] = field(default_factory=list)
    """References to the hashes of what was written there."""

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the seconds of what is within to those of a phase."""
        start = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
