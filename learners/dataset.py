"""The learner's mirror of the replay store: all steps on the learner's device, and segments drawn from them.

Rows are steps in the order of arrival, from 1; row 0 is zero in every column and stands where a segment is padded.
An episode is a list of rows (with several environments they interleave); one that steps are lost from is two.

Legend: B segments, T steps per segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.config import FRAME_SIZE, DatasetConfig
from learners.drawing import Drawing, Episode
from learners.experience import Chunk
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
            self._episodes[index] = replace(episode, rows=np.concatenate([episode.rows, first + steps]))
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

    def draw(self, drawing: Drawing, batch_size: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Rows (B, T) of as many segments; 0 is padding. Raises ValueError if nothing is stored yet."""
        if self._num_steps == 0:
            raise ValueError("nothing to draw: the dataset holds 0 steps")
        return drawing.draw(self._episodes, batch_size, generator)

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
            self._column(name, np.arange(1, self._num_steps + 1))

    def forget_derived(self) -> None:
        """Derived columns are computed anew: the weights are others, whatever the parts' counts say."""
        self._columns.clear()

    def gather(self, rows: NDArray[np.int64], columns: Sequence[str]) -> Segments:
        """The steps at rows (B, T); 0 is padding."""
        index = self._to_device(rows.ravel())  # (B*T,)

        def take(column: Tensor) -> Tensor:
            return column.index_select(0, index).unflatten(0, rows.shape)  # (B, T, ...)

        return Segments(
            actions=take(self._actions),
            rewards=take(self._rewards),
            ends=take(self._ends),
            mask=(index > 0).view(rows.shape),
            columns={name: take(self._column(name, rows[rows > 0])) for name in columns},
        )

    @torch.no_grad()
    def _column(self, name: str, rows: NDArray[np.int64]) -> Tensor:
        """A column, up to date at `rows`."""
        if name == "frames":
            return self._frames
        derived = self._derived[name]
        if name not in self._columns:
            example = derived.compute(self._column(derived.source, _NO_ROWS)[:1])
            self._columns[name] = _Column(example, len(self._frames))
        column = self._columns[name]
        column.reserve(len(self._frames))
        version = self._part_version(derived.part)
        stale = np.unique(rows)
        if self._cache:
            stale = stale[column.versions[stale] != version]
        source = self._column(derived.source, stale)
        size = DERIVE_BATCH if self._cache else max(1, len(stale))
        batches = np.zeros((ceil(len(stale) / size), size), dtype=np.int64)  # filled up with row 0
        batches.reshape(-1)[: len(stale)] = stale
        for rows_at_once in self._to_device(batches):
            column.values[rows_at_once] = derived.compute(source.index_select(0, rows_at_once))
        column.versions[stale] = version
        column.values[0] = 0
        return column.values

    def _to_device(self, rows: NDArray[np.int64]) -> Tensor:
        """Without waiting for the device: from pinned memory the copy is one more thing in its queue."""
        tensor = torch.from_numpy(rows)
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    def _reserve(self, num_rows: int) -> None:
        capacity = len(self._frames)
        if num_rows > capacity:
            capacity = max(num_rows, 2 * capacity, 1024)
            self._frames = _grown(self._frames, capacity)
            self._actions = _grown(self._actions, capacity)
            self._rewards = _grown(self._rewards, capacity)
            self._ends = _grown(self._ends, capacity)


class _Column:
    """One derived column: values per row, and the version of the part that computed each."""

    def __init__(self, example: Tensor, capacity: int) -> None:
        self.values = example.new_zeros((capacity, *example.shape[1:]))
        self.versions = np.full(capacity, -1, dtype=np.int64)

    def reserve(self, capacity: int) -> None:
        if capacity > len(self.values):
            self.versions = np.concatenate([self.versions, np.full(capacity - len(self.values), -1, dtype=np.int64)])
            self.values = _grown(self.values, capacity)


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
