"""All steps that a learner trains on: which belong together, and what is known of each.

Legend: B segments, T steps per segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from learners.action_space import ActionSpace
from learners.columns import Columns
from learners.config import DatasetConfig
from learners.episodes import Episodes
from learners.experience import Chunk
from learners.part import Derived, Segments


class Dataset(Episodes):
    """Episodes with the columns of their steps; drawing and gathering never change what is stored."""

    def __init__(
        self,
        config: DatasetConfig,
        device: torch.device,
        actions: ActionSpace,
        derived: Mapping[str, Derived],
        part_version: Callable[[str], int],
        *,
        cache: bool = True,
        read_frames: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None,
    ) -> None:
        """As `Columns`."""
        super().__init__(truncation_is_end=config.truncation_is_end)
        self.config = config
        self.device = device
        self.columns = Columns(device, actions, derived, part_version, cache=cache, read_frames=read_frames)

    def extend(self, chunk: Chunk, *, gaps: bool = False) -> None:
        """As `Episodes.extend`."""
        super().extend(chunk, gaps=gaps)
        self.columns.extend(chunk, self.ends_of(chunk))

    def truncate(self, last_iteration: int) -> None:
        """Drops the steps of all later iterations and, if there are any, every derived column."""
        before = self.num_steps
        super().truncate(last_iteration)
        if self.num_steps < before:
            self.columns.truncate(self.num_steps)

    def gather(self, rows: NDArray[np.int64], columns: Sequence[str]) -> Segments:
        """The steps at rows (B, T); 0 is padding."""
        return self.columns.gather(rows, columns, self._previous)

    def fill(self, columns: Sequence[str]) -> None:
        """Brings derived columns up to date at every step, as sampling would one batch after another."""
        for name in columns:
            if name != "frames":
                self.gather(np.arange(1, self.num_steps + 1)[None], (name,))

    def last_segment(self, length: int, columns: Sequence[str], *, episode: int) -> Segments:
        """The last `length` steps of one episode, without padding: (1, T)."""
        return self.gather(self._episodes[episode].rows[-length:][None], columns)

    def forget_derived(self) -> None:
        """As `Columns.forget_derived`."""
        self.columns.forget_derived()

    def step_bytes(self) -> dict[str, int]:
        """As `Columns.step_bytes`."""
        return self.columns.step_bytes()
