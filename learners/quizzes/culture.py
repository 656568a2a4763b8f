"""Quizzes that were made up and kept: how a round gathers them, and the file that holds them.

Legend: N quizzes, M models, H cells per side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from learners.quizzes.config import GridConfig, ValidationConfig
from learners.quizzes.tasks import Quizzes, are_trivial
from learners.quizzes.training import joined
from learners.quizzes.validation import FAILS, UNDERSTANDS, Votes, are_kept
from learners.streams import Streams

Cells = NDArray[np.uint8]
"""(N, 4, H, H): a, f(a), b, f(b) of each quiz."""
_TYPES = {"cells": np.uint8, "votes": np.int8, "authors": np.int64, "batches": np.int64, "places": np.int64}


@dataclass(frozen=True)
class Culture:
    """N quizzes in the order in which they were kept."""

    cells: Cells
    votes: Votes
    """(N, M)."""
    authors: NDArray[np.int64]
    """(N,): numbers of models."""
    batches: NDArray[np.int64]
    """(N,): of the author, in its round."""
    places: NDArray[np.int64]
    """(N,): in the batch."""

    @property
    def quizzes(self) -> Quizzes:
        return quizzes_of(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def of(self, which: NDArray[np.bool_]) -> Self:
        """Those where it is True (N,)."""
        return type(self)(**{name: getattr(self, name)[which] for name in _TYPES})

    def cut(self, first: int, last: int) -> Self:
        return type(self)(**{name: getattr(self, name)[first:last] for name in _TYPES})

    def to_bytes(self) -> bytes:
        """safetensors, an array for each field."""
        from safetensors.numpy import save

        return save({name: np.ascontiguousarray(getattr(self, name)) for name in _TYPES})

    @classmethod
    def from_bytes(cls, data: bytes, grid: GridConfig, models: int) -> Self:
        """Raises ValueError, in one line, if `data` is no culture of such grids and so many models."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            count = arrays["cells"].shape[0]
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"found no file of quizzes ({error})") from error
        shapes = {"cells": (count, 4, grid.size, grid.size), "votes": (count, models)}
        expected = {name: (shapes.get(name, (count,)), np.dtype(kind)) for name, kind in _TYPES.items()}
        if (found := {name: (each.shape, each.dtype) for name, each in arrays.items()}) != expected:
            wrong = sorted(found.items() ^ expected.items(), key=str)[0]
            raise ValueError(f"found quizzes of another kind, first difference at {wrong[0]}")
        culture = cls(**arrays)
        bounds = {"cells": (0, grid.colours), "votes": (FAILS, UNDERSTANDS), "authors": (0, models - 1)}
        for name, (low, high) in bounds.items():
            if count and not (low <= arrays[name].min() and arrays[name].max() <= high):
                raise ValueError(
                    f"{name}: found {arrays[name].min()} to {arrays[name].max()}, expected {low} to {high}"
                )
        return culture


@dataclass
class Counts:
    """What became of the quizzes of a round."""

    models: int
    generated: int = 0
    trivial: int = 0
    duplicate: int = 0
    """Not trivial, but made before in this round, or kept in an earlier one."""
    repeated_rules: int = 0
    """Neither, but with an a and f(a) that were: another question about what was shown before."""
    by_passes: list[int] = field(default_factory=list)
    """Judged ones, by how many models understood them: 0 … M."""
    validated: int = 0
    """Of them, those that the rule keeps; the last batch may hold more than are wanted."""

    def __post_init__(self) -> None:
        self.by_passes = self.by_passes or [0] * (self.models + 1)

    def count(self, votes: Votes, kept: NDArray[np.bool_]) -> None:
        passes = (votes == UNDERSTANDS).sum(axis=1)
        for number in passes:
            self.by_passes[number] += 1
        self.validated += int(kept.sum())

    @property
    def judged(self) -> int:
        return self.generated - self.trivial - self.duplicate


class Harvest:
    """Gathers the quizzes of a round. The order of batches and models decides all, not who answers first."""

    def __init__(
        self, config: ValidationConfig, models: int, known: Iterable[bytes], streams: Streams, round_number: int
    ) -> None:
        """`known` are the cells of all quizzes kept before."""
        self._config = config
        self._known = set(known)
        self._shown = {cells[: len(cells) // 2] for cells in self._known}
        self._streams, self._round = streams, round_number
        self._parts: list[Culture] = []
        self.counts = Counts(models)

    def offer(self, made: Sequence[Cells], batch: int) -> Culture:
        """Of a batch of every model those quizzes that are to be judged, without votes: new ones that ask something."""
        places = [self._new_ones(cells) for cells in made]
        numbers = np.array([len(each) for each in places])
        return Culture(
            cells=np.concatenate([cells[each] for cells, each in zip(made, places, strict=True)]),
            votes=np.zeros((int(numbers.sum()), 0), np.int8),
            authors=np.repeat(np.arange(len(made)), numbers),
            batches=np.full(numbers.sum(), batch),
            places=np.concatenate(places),
        )

    def take(self, offered: Culture, votes: Votes) -> None:
        """With what all models (N, M) make of it."""
        batch = int(offered.batches[0]) if len(offered) else 0  # of no quizzes nobody draws judges
        kept = are_kept(votes, self._config, self._streams.numpy("quizzes/judges", self._round, batch))
        self._parts.append(replace(offered, votes=votes).of(kept))
        self.counts.count(votes, kept)

    def _new_ones(self, cells: Cells) -> NDArray[np.int64]:
        trivial = are_trivial(quizzes_of(cells))
        is_new = np.zeros(len(cells), np.bool_)
        for place in np.flatnonzero(~trivial):
            is_new[place] = (key := cells[place].tobytes()) not in self._known
            if is_new[place]:
                self.counts.repeated_rules += (shown := key[: len(key) // 2]) in self._shown
                self._shown.add(shown)
            self._known.add(key)
        self.counts.generated += len(cells)
        self.counts.trivial += int(trivial.sum())
        self.counts.duplicate += int((~trivial & ~is_new).sum())
        return np.flatnonzero(is_new)

    @property
    def is_full(self) -> bool:
        return self.counts.validated >= self._config.wanted

    def culture(self) -> Culture:
        """What is kept: as many as are wanted, in the order of the batches."""
        whole = {name: np.concatenate([getattr(each, name) for each in self._parts]) for name in _TYPES}
        return Culture(**whole).cut(0, self._config.wanted)


def quizzes_of(cells: Cells) -> Quizzes:
    return Quizzes(*cells.transpose(1, 0, 2, 3))


def mixture(
    world: Quizzes, culture: Quizzes, most: int, generator: np.random.Generator, *, newest_first: bool
) -> Quizzes:
    """As many quizzes as of the world, up to `most` of which are replaced by quizzes of the culture, each at most once.

    Args:
        newest_first: culture is taken from its end; otherwise uniformly.
    """
    count, from_culture = len(world.a), min(most, len(culture.a))
    rows = np.arange(len(culture.a))
    rows = rows[len(rows) - from_culture :] if newest_first else generator.permutation(rows)[:from_culture]
    chosen = Quizzes(*(grids[rows] for grids in culture))
    return joined([Quizzes(*(grids[: count - from_culture] for grids in world)), chosen], generator.permutation(count))
