"""Which segments of stored episodes a part trains on.

Legend: B segments, T steps per segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Episode:
    """Consecutive steps of an episode; one that steps are lost from is two."""

    number: int
    """As the replay store names it."""
    first_step: int
    """0, but after a gap."""
    rows: NDArray[np.int64]
    """Of the dataset, in the order of time."""

    @property
    def next_step(self) -> int:
        return self.first_step + len(self.rows)


class Drawing(Protocol):
    @property
    def length(self) -> int:
        """Steps per segment, T."""
        ...

    def draw(
        self, episodes: Sequence[Episode], batch_size: int, generator: np.random.Generator, *, iteration: int
    ) -> NDArray[np.int64]:
        """Rows (B, T) of as many segments; 0 is padding, and stands wherever an episode has no step.

        Args:
            episodes: all that are stored, at least one, none of them empty; the running ones too.
            iteration: in which the gradient step is taken that draws.
        """
        ...

    def state(self) -> Mapping[str, Tensor]:
        """What it remembers of earlier draws. It is saved with the part, and belongs to a commit as weights do.

        What is remembered of an episode is kept under its `number`: an accepted loss changes their positions.
        """
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Raises ValueError if that is not one of its states."""
        ...


@dataclass(frozen=True)
class UniformDrawing:
    """Episodes uniformly with replacement, not by length, then one step uniformly in the episode.

    With anchor "start" it is the segment's first step (padded on the right), with "end" its last (padded on the left).
    Source: Micheli et al. (2023), appendix A.
    """

    length: int
    anchor: Literal["start", "end"]

    def draw(
        self, episodes: Sequence[Episode], batch_size: int, generator: np.random.Generator, *, iteration: int
    ) -> NDArray[np.int64]:
        segments = []
        for index in generator.integers(len(episodes), size=batch_size):
            episode = episodes[index].rows
            position = int(generator.integers(len(episode)))
            segments.append(
                _cut(episode, position if self.anchor == "start" else position + 1 - self.length, self.length)
            )
        return np.stack(segments)  # (B, T)

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """It remembers nothing."""
        if state:
            raise ValueError(f"state of another drawing: found {', '.join(sorted(state))}, expected nothing")


class CountedDrawing:
    """Episodes the more rarely, the more often they were drawn: weight (1 + times drawn)^-α, with replacement; then one
    step uniformly in the episode, and a segment that holds it at a uniformly drawn place.

    Draws in iteration 1 are not counted. With padding "both" the place is any of the segment's, and padding stands on
    both sides of an episode. With "left" a segment ends with the episode at the latest.
    Source: Micheli, Alonso, Fleuret (2024), as published with the paper.
    """

    def __init__(self, length: int, *, alpha: float, padding: Literal["both", "left"]) -> None:
        self.length = length
        self._alpha = alpha
        self._padding = padding
        self._times: dict[int, int] = {}  # by the episode's number

    def draw(
        self, episodes: Sequence[Episode], batch_size: int, generator: np.random.Generator, *, iteration: int
    ) -> NDArray[np.int64]:
        drawn = np.array([1.0 + self._times.get(each.number, 0) for each in episodes])
        weights = (drawn / drawn.min()) ** -self._alpha  # the largest is 1, however large α is
        segments = []
        for index in generator.choice(len(episodes), size=batch_size, p=weights / weights.sum()):
            episode = episodes[index]
            position, offset = int(generator.integers(len(episode.rows))), int(generator.integers(self.length))
            stop = position - offset + self.length if self._padding == "both" else position + 1 + offset
            if self._padding == "left":
                stop = min(stop, len(episode.rows))
            segments.append(_cut(episode.rows, stop - self.length, self.length))
            if iteration > 1:
                self._times[episode.number] = self._times.get(episode.number, 0) + 1
        return np.stack(segments)  # (B, T)

    def state(self) -> Mapping[str, Tensor]:
        """Numbers of episodes and how often each was drawn, both (N,) int64."""
        return {
            "episodes": torch.tensor(list(self._times), dtype=torch.int64),
            "times": torch.tensor(list(self._times.values()), dtype=torch.int64),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        found = {name: (tensor.dtype, tensor.dim()) for name, tensor in state.items()}
        if found != dict.fromkeys(("episodes", "times"), (torch.int64, 1)) or len(set(map(len, state.values()))) > 1:
            raise ValueError(
                f"state of another drawing: found {', '.join(sorted(state)) or 'none'}, expected counts of episodes"
            )
        episodes, times = (state[name].tolist() for name in ("episodes", "times"))
        if len(set(episodes)) < len(episodes) or min(times, default=1) < 1:
            raise ValueError("counts of drawn episodes: expected each episode once, and at least 1")
        self._times = dict(zip(episodes, times, strict=True))


def _cut(episode: NDArray[np.int64], start: int, length: int) -> NDArray[np.int64]:
    """(T,) rows from position `start` of an episode on, which may lie before it; 0 where it has none."""
    rows = np.zeros(length, dtype=np.int64)
    drawn = episode[max(0, start) : max(0, start + length)]
    first = max(0, -start)
    rows[first : first + len(drawn)] = drawn
    return rows
