"""What is wrong with a store, in words a person can act on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from learners.errors import RecoverableError


class Span(NamedTuple):
    """Steps start .. start + num_steps - 1 of one environment in one iteration."""

    iteration: int
    environment: int
    start: int
    num_steps: int


@dataclass(frozen=True)
class Damage:
    """One fault found in a store."""

    file: str | None
    """Name within the store's directory; None where steps are missing or doubled and no file is to blame."""
    reason: str
    missing: tuple[Span, ...]
    """The steps that cannot be read, in logical order; empty where that is not known."""

    def __str__(self) -> str:
        """One line: file, reason, missing steps."""
        file = f"{self.file}: " if self.file else ""
        return f"{file}{self.reason}; missing: {_describe(self.missing)}"


class DamagedSegmentError(RecoverableError, ValueError):
    """Experience cannot be read; `damage` says which and why, the message says it in one line."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage)
        self.damage = damage


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same steps in logical order, with touching spans joined."""
    joined: list[Span] = []
    for span in sorted(spans):
        last = joined[-1] if joined else None
        if last and last[:2] == span[:2] and last.start + last.num_steps == span.start:
            joined[-1] = last._replace(num_steps=last.num_steps + span.num_steps)
        else:
            joined.append(span)
    return tuple(joined)


def _describe(spans: Iterable[Span]) -> str:
    """`environment 0, iterations 3-44, steps 0-199`: spans that differ only in the iteration share a place."""
    iterations: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    for span in spans:
        iterations[span.environment, span.start, span.num_steps].append(span.iteration)
    places = [
        f"environment {environment}, iterations {_ranges(found)}, steps {start}-{start + num_steps - 1}"
        for (environment, start, num_steps), found in iterations.items()
    ]
    return "; ".join(places) or "unknown steps"


def _ranges(numbers: list[int]) -> str:
    """[3, 4, 5, 9] -> 3-5, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in runs)
