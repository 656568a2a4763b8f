"""The learner's mirror of the replay store: all steps on the learner's device, and segments drawn from them.

Rows are steps in the order of arrival, from 1; row 0 is zero in every column and stands where a segment is padded.
An episode is a list of rows (with several environments they interleave); one that steps are lost from is two.

Legend: B segments, T steps per segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.config import FRAME_SIZE, DatasetConfig
from learners.drawing import Drawing, Episode
from learners.experience import Chunk
from learners.memory import experience_too_large, has_run_out, next_capacity
from learners.part import Derived, Segments

DERIVE_BATCH = 64
"""Rows of a derived column that are computed at once, always so many: in batches of one size a row does not depend on
the others in its batch, in batches of two sizes it can differ in its last bit. So it does not matter which rows are
asked for when, and a resumed run has the columns of one that was not interrupted."""
_NO_ROWS = np.empty(0, dtype=np.int64)


class Dataset:
    """Grows with `extend`, shrinks with `truncate`; drawing and gathering never change what is stored."""

    def __init__(
        self,
        config: DatasetConfig,
        device: torch.device,
        derived: Mapping[str, Derived],
        part_version: Callable[[str], int],
        *,
        cache: bool = True,
    ) -> None:
        """`part_version(part)` counts a part's gradient steps; without `cache`, derived columns are always computed."""
        self.config = config
        self.device = device
        self._derived = derived
        self._part_version = part_version
        self._cache = cache
        self._num_steps = 0
        self._frames = torch.zeros((1, 3, FRAME_SIZE, FRAME_SIZE), dtype=torch.uint8, device=device)
        self._actions = torch.zeros(1, dtype=torch.int64, device=device)
        self._rewards = torch.zeros(1, dtype=torch.float32, device=device)
        self._ends = torch.zeros(1, dtype=torch.bool, device=device)
        self._episodes: list[Episode] = []
        self._episode_index: dict[int, int] = {}  # episode id -> index in _episodes, of the later part after a gap
        self._ended: list[int] = []  # indices of episodes, as they ended
        self._previous = np.zeros(1, dtype=np.int64)  # the row before in the same episode; 0 if there is none
        self._columns: dict[str, _Column] = {}
        self._first_rows: dict[int, int] = {}  # of every iteration that has steps, in their order

    @property
    def num_steps(self) -> int:
        return self._num_steps

    @property
    def newest_iteration(self) -> int:
        """Of the steps stored last; 0 if there are none."""
        return next(reversed(self._first_rows), 0)

    @property
    def num_episodes(self) -> int:
        """The running, unfinished ones included."""
        return len(self._episodes)

    def episode_lengths(self) -> NDArray[np.int64]:
        """Steps of each episode stored so far, in order of first arrival."""
        return np.array([len(episode.rows) for episode in self._episodes], dtype=np.int64)

    def extend(self, chunk: Chunk, *, gaps: bool = False) -> None:
        """Appends the steps of a chunk; chunks of one environment must come in their order.

        Args:
            gaps: steps may be missing between those of the chunk and those before it.

        Raises: ValueError for a gap without `gaps`.
        """
        first, last = self._num_steps + 1, self._num_steps + 1 + len(chunk)
        self._reserve(last)
        self._first_rows.setdefault(chunk.iteration, first)
        ends = chunk.terminated | chunk.truncated if self.config.truncation_is_end else chunk.terminated
        self._frames[first:last] = torch.tensor(chunk.frames, device=self.device)
        self._actions[first:last] = torch.tensor(chunk.actions, device=self.device)
        self._rewards[first:last] = torch.tensor(chunk.rewards, device=self.device)
        self._ends[first:last] = torch.tensor(ends, device=self.device)
        for number in map(int, np.unique(chunk.episodes)):
            steps = np.flatnonzero(chunk.episodes == number)
            index, step = self._episode_index.get(number), int(chunk.episode_steps[steps[0]])
            expected = 0 if index is None else self._episodes[index].next_step
            if step != expected and not (gaps and step > expected):
                raise ValueError(f"episode {number}: expected its step {expected} next, found step {step}")
            if index is None or step != expected:
                index = self._episode_index[number] = len(self._episodes)
                self._episodes.append(Episode(number, step, _NO_ROWS))
            episode = self._episodes[index]
            rows = np.concatenate([episode.rows, first + steps])
            self._previous[first + steps] = np.concatenate([[0], rows])[-len(steps) - 1 : -1]
            self._episodes[index] = replace(episode, rows=rows)
            if ends[steps[-1]]:
                self._ended.append(index)
        self._num_steps += len(chunk)

    def truncate(self, last_iteration: int) -> None:
        """Drops the steps of all later iterations, and every derived column."""
        later = [iteration for iteration in self._first_rows if iteration > last_iteration]
        if not later:
            return
        end = self._first_rows[later[0]]
        for iteration in later:
            del self._first_rows[iteration]
        self._ended = [index for index in self._ended if self._episodes[index].rows[-1] < end]
        kept = [replace(each, rows=each.rows[: np.searchsorted(each.rows, end)]) for each in self._episodes]
        self._episodes = [episode for episode in kept if len(episode.rows)]  # those that go came last
        self._episode_index = {episode.number: index for index, episode in enumerate(self._episodes)}
        self._num_steps = end - 1
        self.forget_derived()

    def draw(
        self, drawing: Drawing, batch_size: int, generator: np.random.Generator, *, iteration: int
    ) -> NDArray[np.int64]:
        """Rows (B, T) of as many segments; 0 is padding. Raises ValueError if nothing is stored yet."""
        if self._num_steps == 0:
            raise ValueError("nothing to draw: the dataset holds 0 steps")
        return drawing.draw(self._episodes, batch_size, generator, iteration=iteration)

    def newest(self, length: int) -> NDArray[np.int64]:
        """Rows (N, T) of all steps of `newest_iteration`, cut into pieces of episodes, padded on the right."""
        pieces, first = [], self._first_rows.get(self.newest_iteration, 1)
        for episode in self._episodes:
            new = episode.rows[np.searchsorted(episode.rows, first) :]
            pieces += [new[start : start + length] for start in range(0, len(new), length)]
        return _padded(pieces, length)

    def finished_episodes(self, count: int, length: int) -> NDArray[np.int64]:
        """Rows (N, T) of the last `length` steps of the newest N ≤ `count` episodes that have ended, padded right."""
        return _padded([self._episodes[index].rows[-length:] for index in self._ended[-count:]], length)

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Segments (B, T) as "episode:first step-last step", numbers that the replay store knows."""
        where = {
            row: (episode.number, step)
            for episode in self._episodes
            for step, row in enumerate(episode.rows, episode.first_step)
        }
        names = []
        for segment in rows:
            real = segment[segment > 0]
            (episode, first), (_, last) = where[real[0]], where[real[-1]]
            names.append(f"{episode}:{first}-{last}")
        return names

    def last_segment(self, length: int, columns: Sequence[str], *, episode: int) -> Segments:
        """The last `length` steps of one episode, without padding: (1, T)."""
        return self.gather(self._episodes[episode].rows[-length:][None], columns)

    def fill(self, columns: Sequence[str]) -> None:
        """Brings derived columns up to date at every step, as sampling would one batch after another."""
        for name in columns:
            if name != "frames":
                self._column(name, np.arange(1, self._num_steps + 1)[None])

    def forget_derived(self) -> None:
        """Derived columns are computed anew: the weights are others, whatever the parts' counts say."""
        self._columns.clear()

    def gather(self, rows: NDArray[np.int64], columns: Sequence[str]) -> Segments:
        """The steps at rows (B, T); 0 is padding."""
        index = self._to_device(rows)

        def take(column: Tensor, where: Tensor) -> Tensor:
            return column.index_select(0, where.reshape(-1)).unflatten(0, rows.shape)  # (B, T, ...)

        return Segments(
            actions=take(self._actions, index),
            rewards=take(self._rewards, index),
            ends=take(self._ends, index),
            mask=index > 0,
            columns={
                name: take(self._frames, index) if name == "frames" else take(*self._column(name, rows))
                for name in columns
            },
        )

    @torch.no_grad()
    def _column(self, name: str, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """A derived column, up to date at rows (B, T), and which of its cells stand there."""
        derived = self._derived[name]
        if name not in self._columns:
            nothing = np.zeros((1, derived.window), dtype=np.int64)
            self._columns[name] = _Column(derived, derived.compute(self.gather(nothing, derived.sources)))
        column = self._columns[name]
        with self._making_room():
            column.reserve(len(self._frames))
        cells = column.cells(rows)
        version = self._part_version(derived.part)
        stale = np.unique(cells if derived.at_padding else cells[cells > 0])
        if self._cache:
            stale = stale[column.versions[stale] != version]
        size = DERIVE_BATCH if self._cache else max(1, len(stale))
        padded = np.zeros((ceil(len(stale) / size), size), dtype=np.int64)  # filled up with cell 0
        padded.reshape(-1)[: len(stale)] = stale
        windows = column.windows(padded, self._previous)  # (batches, N, W)
        for source in set(derived.sources) - {"frames"}:
            self._column(source, windows.reshape(-1, derived.window))
        for cells_at_once, window in zip(self._to_device(padded), windows, strict=True):
            column.values[cells_at_once] = derived.compute(self.gather(window, derived.sources))
        column.versions[stale] = version
        if not derived.at_padding:
            column.values[0] = 0
        return column.values, self._to_device(cells)

    def _to_device(self, rows: NDArray[np.int64]) -> Tensor:
        """Without waiting for the device: from pinned memory the copy is one more thing in its queue."""
        tensor = torch.from_numpy(rows)
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    def step_bytes(self) -> list[int]:
        """That a step takes in every column there is."""
        own = [each[0].nbytes for each in (self._frames, self._actions, self._rewards, self._ends)]
        return own + [column.step_bytes for column in self._columns.values()]

    @contextmanager
    def _making_room(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if has_run_out(error):
                raise experience_too_large(self._num_steps, sum(self.step_bytes()), self.device) from error
            raise

    def _reserve(self, num_rows: int) -> None:
        if num_rows <= len(self._frames):
            return
        capacity = next_capacity(num_rows, len(self._frames))
        with self._making_room():
            self._frames = _grown(self._frames, capacity)
            self._actions = _grown(self._actions, capacity)
            self._rewards = _grown(self._rewards, capacity)
            self._ends = _grown(self._ends, capacity)
            self._previous = np.concatenate([self._previous, np.zeros(capacity - len(self._previous), dtype=np.int64)])


class _Column:
    """One derived column: values per cell, and the version of the part that computed each.

    A row has a cell of its own. If padding has values, too, the padding k = 1 … W − 1 steps after a row, where an
    episode ends with it, has one as well; cell 0 is that of padding with nothing but padding in its window.
    """

    def __init__(self, derived: Derived, example: Tensor) -> None:
        """`example` (N, ...) is what values look like."""
        self._derived = derived
        self._cells_per_row = derived.window if derived.at_padding else 1
        self.values = example.new_zeros((1, *example.shape[1:]))
        self.versions = np.full(1, -1, dtype=np.int64)

    @property
    def step_bytes(self) -> int:
        return self._cells_per_row * (self.values[0].nbytes + self.versions.itemsize)

    def reserve(self, num_rows: int) -> None:
        more = num_rows * self._cells_per_row - len(self.values)
        if more > 0:
            self.versions = np.concatenate([self.versions, np.full(more, -1, dtype=np.int64)])
            self.values = _grown(self.values, len(self.versions))

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


def _padded(pieces: Sequence[NDArray[np.int64]], length: int) -> NDArray[np.int64]:
    """(N, length), filled up with row 0."""
    rows = np.zeros((len(pieces), length), dtype=np.int64)
    for index, piece in enumerate(pieces):
        rows[index, : len(piece)] = piece
    return rows


def _grown(tensor: Tensor, capacity: int) -> Tensor:
    grown = tensor.new_zeros((capacity, *tensor.shape[1:]))
    grown[: len(tensor)] = tensor
    return grown
