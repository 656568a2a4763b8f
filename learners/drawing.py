"""Which segments of stored episodes a part trains on.

Legend: B segments, T steps per segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
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

    def draw(self, episodes: Sequence[Episode], batch_size: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Rows (B, T) of as many segments; 0 is padding, and stands wherever an episode has no step.

        Args:
            episodes: all that are stored, at least one, none of them empty; the running ones too.
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

    def draw(self, episodes: Sequence[Episode], batch_size: int, generator: np.random.Generator) -> NDArray[np.int64]:
        rows = np.zeros((batch_size, self.length), dtype=np.int64)  # (B, T)
        for index, episode_index in enumerate(generator.integers(len(episodes), size=batch_size)):
            episode = episodes[episode_index].rows
            position = int(generator.integers(len(episode)))
            if self.anchor == "start":
                drawn = episode[position : position + self.length]
                rows[index, : len(drawn)] = drawn
            else:
                drawn = episode[max(0, position + 1 - self.length) : position + 1]
                rows[index, self.length - len(drawn) :] = drawn
        return rows

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """It remembers nothing."""
        if state:
            raise ValueError(f"state of another drawing: found {', '.join(state)}, expected nothing")
