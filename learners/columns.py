"""What is known of every stored step: columns on the learner's device, or frames where they are stored, and columns
that parts derive from them.

Rows are those of `episodes.py`; row 0 is zero in every column and stands where a segment is padded.

Legend: B segments, T steps per segment, N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.action_space import ActionSpace, Discrete
from learners.experience import FRAME_SHAPE, Chunk
from learners.memory import experience_too_large, has_run_out, next_capacity
from learners.part import Derived, Segments

DERIVE_BATCH = 64
"""Rows of a derived column that are computed at once, always so many: in batches of one size a row does not depend on
the others in its batch, in batches of two sizes it can differ in its last bit. So it does not matter which rows are
asked for when, and a resumed run has the columns of one that was not interrupted."""
CACHE_BYTES = 1 << 30
"""Of a derived column, where frames stay on the disk: the values of so much are kept."""


class Experience(Protocol):
    """Stored steps, as files hold them: who builds a learner hands it one. Rows count from 1, as `steps` gives them."""

    def steps(self, receipts: Sequence[Any], *, with_frames: bool) -> Iterator[Chunk]:
        """The steps of one iteration that receipts vouch for, checked, in logical order.

        Without frames those stay where they are, and `frames` reads them from now on.
        Raises: RecoverableError if something is damaged.
        """
        ...

    def frames(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(N, 3, 64, 64) of rows (N,), checked; zero for row 0. Raises: RecoverableError."""
        ...

    def truncate(self, num_rows: int) -> None:
        """Forgets all later rows."""
        ...


class Columns:
    """Of steps that were given to `extend`; gathering changes nothing but what is kept of derived columns."""

    def __init__(
        self,
        device: torch.device,
        actions: ActionSpace,
        derived: Mapping[str, Derived],
        part_version: Callable[[str], int],
        *,
        cache: bool = True,
        read_frames: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None,
    ) -> None:
        """
        Args:
            part_version: counts a part's gradient steps.
            cache: without it, derived columns are computed anew for every batch.
            read_frames: `Experience.frames`, if they are to stay where they are stored.
        """
        self.device = device
        self._derived = derived
        self._part_version = part_version
        self._cache = cache
        self._read_frames = read_frames
        self._num_rows = 1
        self._frames = torch.zeros((1, *FRAME_SHAPE), dtype=torch.uint8, device=device)
        kind = torch.int64 if isinstance(actions, Discrete) else torch.float32
        self._actions = torch.zeros((1, *actions.shape), dtype=kind, device=device)
        self._rewards = torch.zeros(1, dtype=torch.float32, device=device)
        self._ends = torch.zeros(1, dtype=torch.bool, device=device)
        self._columns: dict[str, _Column] = {}

    def extend(self, chunk: Chunk, ends: NDArray[np.bool_]) -> None:
        """Appends the steps of a chunk, which end episodes where `ends` (N,) says so."""
        first, last = self._num_rows, self._num_rows + len(chunk)
        self._reserve(last)
        if self._read_frames is None:
            self._frames[first:last] = torch.tensor(chunk.frames, device=self.device)
        self._actions[first:last] = torch.tensor(chunk.actions, device=self.device)
        self._rewards[first:last] = torch.tensor(chunk.rewards, device=self.device)
        self._ends[first:last] = torch.tensor(ends, device=self.device)
        self._num_rows = last

    def truncate(self, num_steps: int) -> None:
        """Drops all later rows, and every derived column."""
        self._num_rows = num_steps + 1
        self.forget_derived()

    def forget_derived(self) -> None:
        """Derived columns are computed anew: the weights are others, whatever the parts' counts say."""
        self._columns.clear()

    def gather(self, rows: NDArray[np.int64], columns: Sequence[str], previous: NDArray[np.int64]) -> Segments:
        """The steps at rows (B, T); 0 is padding. `previous` (rows,) is the row before each in its episode, or 0."""
        index = self._to_device(rows)

        def take(column: Tensor, where: Tensor) -> Tensor:
            return column.index_select(0, where.reshape(-1)).unflatten(0, rows.shape)  # (B, T, ...)

        def frames() -> Tensor:
            if self._read_frames is None:
                return take(self._frames, index)
            return self._to_device(self._read_frames(rows.reshape(-1))).unflatten(0, rows.shape)

        return Segments(
            actions=take(self._actions, index),
            rewards=take(self._rewards, index),
            ends=take(self._ends, index),
            mask=index > 0,
            columns={
                name: frames() if name == "frames" else take(*self._column(name, rows, previous)) for name in columns
            },
        )

    @torch.no_grad()
    def _column(self, name: str, rows: NDArray[np.int64], previous: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """A derived column, up to date at rows (B, T), and which of its places hold them."""
        derived = self._derived[name]
        if name not in self._columns:
            nothing = np.zeros((1, derived.window), dtype=np.int64)
            example = derived.compute(self.gather(nothing, derived.sources, previous))
            self._columns[name] = _Column(derived, example, is_bounded=self._read_frames is not None)
        column = self._columns[name]
        cells = column.cells(rows)
        with self._making_room():
            column.reserve(len(self._actions), cells)
        places = column.places(cells)
        version = self._part_version(derived.part)
        stale = np.unique(cells if derived.at_padding else cells[cells > 0])
        if self._cache:
            stale = stale[column.versions[column.places(stale)] != version]
        size = DERIVE_BATCH if self._cache else max(1, len(stale))
        padded = np.zeros((ceil(len(stale) / size), size), dtype=np.int64)  # filled up with cell 0
        padded.reshape(-1)[: len(stale)] = stale
        windows = column.windows(padded, previous)  # (batches, N, W)
        for source in set(derived.sources) - {"frames"}:
            self._column(source, windows.reshape(-1, derived.window), previous)
        for places_at_once, window in zip(self._to_device(column.places(padded)), windows, strict=True):
            column.values[places_at_once] = derived.compute(self.gather(window, derived.sources, previous))
        column.versions[column.places(stale)] = version
        if not derived.at_padding:
            column.values[0] = 0
        return column.values, self._to_device(places)

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        """Without waiting for the device: from pinned memory the copy is one more thing in its queue."""
        tensor = torch.from_numpy(array)
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    def step_bytes(self) -> dict[str, int]:
        """That a step takes in every column there is."""
        frames = {} if self._read_frames else {"frames": self._frames}
        own = {**frames, "actions": self._actions, "rewards": self._rewards, "ends": self._ends}
        of_derived = {name: column.step_bytes for name, column in self._columns.items()}
        return {name: column[0].nbytes for name, column in own.items()} | of_derived

    @contextmanager
    def _making_room(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if has_run_out(error):
                raise experience_too_large(self._num_rows - 1, sum(self.step_bytes().values()), self.device) from error
            raise

    def _reserve(self, num_rows: int) -> None:
        if num_rows <= len(self._actions):
            return
        capacity = next_capacity(num_rows, len(self._actions))
        with self._making_room():
            if self._read_frames is None:
                self._frames = _grown(self._frames, capacity)
            self._rewards = _grown(self._rewards, capacity)
            self._ends = _grown(self._ends, capacity)
            self._actions = _grown(self._actions, capacity)


class _Column:
    """One derived column: values, and the version of the part that computed each.

    A row has a cell of its own. If padding has values, too, the padding k = 1 … W − 1 steps after a row, where an
    episode ends with it, has one as well; cell 0 is that of padding with nothing but padding in its window. Each cell
    has a place of its own, or, in a bounded column, as long as there is one: when all are taken, all are given back.
    """

    def __init__(self, derived: Derived, example: Tensor, *, is_bounded: bool) -> None:
        """`example` (N, ...) is what values look like."""
        self._derived = derived
        self._cells_per_row = derived.window if derived.at_padding else 1
        self.values = example.new_zeros((1, *example.shape[1:]))
        self.versions = np.full(1, -1, dtype=np.int64)
        self._most = max(1, CACHE_BYTES // max(1, self.values[0].nbytes)) if is_bounded else None
        self._places = np.zeros(1, dtype=np.int32)  # of every cell, if there is a bound; 0 if it has none
        self._taken = 1

    @property
    def step_bytes(self) -> int:
        return self._cells_per_row * (self.values[0].nbytes + self.versions.itemsize)

    def reserve(self, num_rows: int, cells: NDArray[np.int64]) -> None:
        """Makes room for all cells of so many rows, or where that is bounded, for those that are asked for."""
        num_cells = num_rows * self._cells_per_row
        if self._most is None:
            self._grow(num_cells)
            return
        if (more := num_cells - len(self._places)) > 0:
            self._places = np.concatenate([self._places, np.zeros(more, dtype=np.int32)])
        asked = np.unique(cells[cells > 0])
        new = asked[self._places[asked] == 0]
        if len(new) and self._taken + len(new) > self._most:
            self._places[:], self._taken, new = 0, 1, asked
        self._places[new] = np.arange(self._taken, self._taken + len(new))
        self._grow(self._taken + len(new))
        self.versions[self._taken : self._taken + len(new)] = -1
        self._taken += len(new)

    def places(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the values of cells (...) are: (...)."""
        return cells if self._most is None else self._places[cells].astype(np.int64)

    def cells(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of rows (B, T): (B, T)."""
        if self._cells_per_row == 1:
            return rows
        places = np.arange(rows.shape[1])
        newest = np.maximum.accumulate(np.where(rows > 0, places, -1), axis=1)  # where the last real step stands
        distance = np.where(newest < 0, self._cells_per_row, places - newest)
        last = np.take_along_axis(rows, newest.clip(min=0), axis=1)
        return np.where(distance < self._cells_per_row, last * self._cells_per_row + distance, 0)

    def windows(self, cells: NDArray[np.int64], previous: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows (..., W) of the steps that cells (...) are computed from; 0 is padding."""
        rows, distance = np.divmod(cells, self._cells_per_row)
        windows = np.zeros((*cells.shape, self._derived.window), dtype=np.int64)
        for place in reversed(range(self._derived.window)):
            is_step = self._derived.window - 1 - place >= distance
            windows[..., place] = np.where(is_step, rows, 0)
            rows = np.where(is_step, previous[rows], rows)
        return windows

    def _grow(self, count: int) -> None:
        if self._most is not None and count > len(self.values):
            count = max(count, min(self._most, 2 * len(self.values)))
        if count > len(self.values):
            self.versions = np.concatenate([self.versions, np.full(count - len(self.versions), -1, dtype=np.int64)])
            self.values = _grown(self.values, count)


def _grown(tensor: Tensor, capacity: int) -> Tensor:
    grown = tensor.new_zeros((capacity, *tensor.shape[1:]))
    grown[: len(tensor)] = tensor
    return grown
