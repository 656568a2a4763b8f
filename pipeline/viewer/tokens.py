"""The tokens of what is shown, where an agent has any: a derived column `tokens`, or dreams that have them.

Legend: K tokens per frame; none where there are none to tell.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from learners.action_space import Action, Discrete
from learners.dreaming.dream import Dream
from learners.part import Segments
from pipeline.trained import Trained

COLUMN = "tokens"


def of_dream(dream: Dream) -> list[int]:
    """(K,), of its newest frame."""
    tokens = getattr(dream, "tokens", None)
    return [] if tokens is None else tokens[0].flatten().tolist()


def of_row(trained: Trained, row: int) -> list[int]:
    """(K,), of a stored step."""
    if COLUMN not in trained.learner.algorithm.derived:
        return []
    steps = trained.learner.dataset.gather(np.array([[row]]), (COLUMN,))
    return steps.columns[COLUMN].flatten().tolist()


class Episode:
    """Of an episode's frames as they come, where tokens follow from frames and actions alone."""

    def __init__(self, trained: Trained) -> None:
        column = trained.learner.algorithm.derived.get(COLUMN)
        reads_frames = column is not None and column.sources == ("frames",)
        self._column = column if reads_frames and isinstance(trained.game.action_space, Discrete) else None
        self._frames: list[NDArray[np.uint8]] = []
        self._led: list[Action] = []
        """To each of these frames."""

    @torch.no_grad()
    def of(self, frame: NDArray[np.uint8], action: Action | None) -> list[int]:
        """(K,), of the next frame (3, 64, 64); `action` led to it, None to the first."""
        if self._column is None:
            return []
        window = self._column.window
        self._frames = [*self._frames, frame][-window:]
        self._led = [*self._led, action or 0][-window:]
        missing = window - len(self._frames)
        frames = torch.from_numpy(np.stack([np.zeros_like(frame)] * missing + self._frames))
        actions = torch.tensor([*[0] * missing, *self._led, 0][1:])  # after each frame
        mask, none = torch.arange(window) >= missing, torch.zeros(window)
        steps = Segments(actions[None], none[None], none.bool()[None], mask[None], {"frames": frames[None]})
        return self._column.compute(steps).flatten().tolist()
