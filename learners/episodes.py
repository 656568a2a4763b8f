"""Which rows belong together: the episodes of stored steps, and segments drawn from them.

Rows are steps in the order of arrival, from 1; row 0 stands where a segment is padded. An episode is a list of rows
(with several environments they interleave); one that steps are lost from is two.

Legend: B segments, T steps per segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from learners.drawing import Drawing, Episode
from learners.experience import Chunk

_NO_ROWS = np.empty(0, dtype=np.int64)


class Episodes:
    """Grows with `extend`, shrinks with `truncate`; drawing never changes what is stored."""

    def __init__(self, *, truncation_is_end: bool) -> None:
        """`truncation_is_end`: an episode that ran into a limit has ended, too."""
        self._truncation_is_end = truncation_is_end
        self._num_steps = 0
        self._episodes: list[Episode] = []
        self._episode_index: dict[int, int] = {}  # episode id -> index in _episodes, of the later part after a gap
        self._ended: list[int] = []  # indices of episodes, as they ended
        self._first_rows: dict[int, int] = {}  # of every iteration that has steps, in their order
        self._previous = np.zeros(1, dtype=np.int64)  # the row before in the same episode; 0 if there is none

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

    def ends_of(self, chunk: Chunk) -> NDArray[np.bool_]:
        """(N,) with which steps of a chunk its episode ends."""
        return chunk.terminated | chunk.truncated if self._truncation_is_end else chunk.terminated

    def extend(self, chunk: Chunk, *, gaps: bool = False) -> None:
        """Appends the steps of a chunk; chunks of one environment must come in their order.

        Args:
            gaps: steps may be missing between those of the chunk and those before it.

        Raises: ValueError for a gap without `gaps`.
        """
        first = self._num_steps + 1
        self._first_rows.setdefault(chunk.iteration, first)
        if len(self._previous) < first + len(chunk):
            room = max(first + len(chunk), 2 * len(self._previous)) - len(self._previous)
            self._previous = np.concatenate([self._previous, np.zeros(room, dtype=np.int64)])
        ends = self.ends_of(chunk)
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
        """Drops the steps of all later iterations."""
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

    def draw(
        self, drawing: Drawing, batch_size: int, generator: np.random.Generator, *, iteration: int
    ) -> NDArray[np.int64]:
        """Rows (B, T) of as many segments; 0 is padding. Raises ValueError if nothing is stored yet."""
        if self._num_steps == 0:
            raise ValueError("nothing to draw: the dataset holds 0 steps")
        return drawing.draw(self._episodes, batch_size, generator, iteration=iteration)

    def until(self, rows: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Rows (B, T) of up to T = `length` steps of the same episode that end with each of rows (B,), padded left."""
        found = [rows]
        while len(found) < length:
            found.append(self._previous[found[-1]])
        return np.stack(found[::-1], axis=1)

    def since(self, row: int) -> NDArray[np.int64]:
        """Rows (T,) of the same episode from a step on, as far as they are stored."""
        for episode in self._episodes:
            place = np.searchsorted(episode.rows, row)
            if place < len(episode.rows) and episode.rows[place] == row:
                return episode.rows[place:]
        raise IndexError(f"row: found {row}, expected 1 to {self._num_steps}")

    def row(self, episode: int, step: int) -> int:
        """Of a stored step of the episode with this index. Raises IndexError if there is none."""
        return int(self._episodes[episode].rows[step])

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


def _padded(pieces: Sequence[NDArray[np.int64]], length: int) -> NDArray[np.int64]:
    """(N, length), filled up with row 0."""
    rows = np.zeros((len(pieces), length), dtype=np.int64)
    for index, piece in enumerate(pieces):
        rows[index, : len(piece)] = piece
    return rows
