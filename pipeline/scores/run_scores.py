"""What runs came to, and which of them may be averaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from actors.config import EvaluationProtocol
from pipeline.errors import UsageError
from pipeline.evaluation import in_words
from pipeline.scores.aggregates import Runs
from pipeline.scores.curves import Points

STATED = "protocol"
"""Name of the only entry of a protocol that is known in words alone."""
NOT_STATED = "not stated"
LARGEST = 1e12
"""That a score may be; a sum of larger ones could be infinite."""


@dataclass(frozen=True)
class RunScore:
    """What one run came to."""

    algorithm: str
    """Of a run of ours, its preset."""
    game: str
    seed: int
    score: float
    """Mean over episodes, in the game's own units."""
    protocol: EvaluationProtocol
    """How it was evaluated, and after how many steps."""
    source: Path
    """A run's directory, or a file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that could make two runs of an algorithm different ones, as far as it is known."""
    machine: Mapping[str, str | int] = field(default_factory=dict)
    points: Points = field(default_factory=dict)
    """Of its learning curve."""
    points_protocol: EvaluationProtocol = field(default_factory=dict)
    """How those were evaluated."""
    success_rates: Mapping[str, float] = field(default_factory=dict)
    """Achievement -> per cent of training episodes."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Who looks at nothing -> mean score in the same episodes, where that was played."""
    deviations: Sequence[str] = ()
    """From the protocol that is published for its algorithm and game; none where there is no such."""

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, unless its names can be drawn, and no spreadsheet takes one for a formula."""
        for what, name in (("algorithm", self.algorithm), ("game", self.game)):
            if not name.strip() or not name.isprintable() or name[0] in "=+-@":
                raise ValueError(f"found {what} {name!r:.80}, expected a line of text that begins with none of = + - @")

    @property
    def variant(self) -> dict[str, Any]:
        """What all runs of an aggregate must have in common."""
        return {**self.protocol, **self.settings}


@dataclass(frozen=True)
class ComparedAlgorithm:
    """Runs that may be averaged: of one configuration, evaluated in one way, a seed and game once."""

    name: str
    results: Sequence[RunScore]
    """By game and seed."""

    @property
    def protocol(self) -> str:
        """In words."""
        known = self.results[0].protocol
        return str(known[STATED]) if STATED in known else in_words(known)

    @property
    def points_protocol(self) -> str | None:
        """The same of learning curves; None if they differ, or there are none."""
        found = {in_words(each.points_protocol) for each in self.results if each.points}
        return found.pop() if len(found) == 1 else None

    @property
    def runs(self) -> Runs:
        """Game -> scores, both in order."""
        games = _grouped(self.results, attrgetter("game"))
        return {game: np.array([each.score for each in found]) for game, found in games.items()}


def join(results: Iterable[RunScore], *, split: bool = False) -> list[ComparedAlgorithm]:
    """Results by algorithm, in the order in which they come.

    Args:
        split: reports runs of one algorithm that must not be averaged as several, named by what differs.

    Raises: UsageError if a seed comes twice, or runs must not be averaged and are not split.
    """
    named = _grouped(results, attrgetter("algorithm"))
    variants = [each for name, found in named.items() for each in _variants(name, found, split)]
    in_order = attrgetter("game", "seed")
    algorithms = [ComparedAlgorithm(name, sorted(found, key=in_order)) for name, found in variants]
    names = [each.name for each in algorithms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"found two algorithms named {twice}, expected a name of its own for each")
    for algorithm in algorithms:
        for (game, seed), (one, *others) in _grouped(algorithm.results, in_order).items():
            if others:
                where = f"{one.source} and {others[0].source}"
                raise UsageError(f"{algorithm.name}, {game}: found seed {seed} twice ({where})")
    return algorithms


def _grouped(results: Iterable[RunScore], key: Callable[[RunScore], Any]) -> dict[Any, list[RunScore]]:
    groups: dict[Any, list[RunScore]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def _variants(name: str, results: Sequence[RunScore], split: bool) -> Iterator[tuple[str, Sequence[RunScore]]]:
    """What may be averaged, and its name."""
    variants = _grouped(results, lambda each: json.dumps(each.variant, sort_keys=True))
    firsts = [found[0] for found in variants.values()]
    if len(firsts) == 1:
        yield name, results
        return
    keys = dict.fromkeys(key for each in firsts for key in each.variant)
    differing = [key for key in keys if len({json.dumps(each.variant.get(key)) for each in firsts}) > 1]
    if not split:
        key, one = differing[0], firsts[0]
        two = next(each for each in firsts if each.variant.get(key) != one.variant.get(key))
        found = [f"{each.variant.get(key, NOT_STATED)} ({each.source})" for each in (one, two)]
        raise UsageError(
            f"{name}: {key}: found {found[0]} and {found[1]}, expected one protocol and configuration in an aggregate;"
            " --split reports them apart"
        )
    for found in variants.values():
        variant = found[0].variant
        label = ", ".join(f"{key} {variant[key]}" for key in differing if key in variant)
        yield f"{name} [{label}]", found
