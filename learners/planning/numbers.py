"""Actions as numbers for a network that plans: in half ranges of a box, −1 to 1; or n, of which one is 1.

Legend: A numbers of an action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.action_space import ActionSpace, Box


class Numbers:
    def __init__(self, space: ActionSpace) -> None:
        self.is_box = isinstance(space, Box)
        self.count = len(space.low) if isinstance(space, Box) else space.count
        """A."""
        low, high = (space.low, space.high) if isinstance(space, Box) else ((0.0,), (1.0,))
        self._low, self._high = np.array(low, np.float32), np.array(high, np.float32)
        self._middle, self._half = (self._high + self._low) / 2, (self._high - self._low) / 2
        self._on: dict[torch.device, tuple[Tensor, Tensor]] = {}
        """Middle and half range, where they were needed: a copy to a device waits for it."""

    def of(self, actions: Tensor) -> Tensor:
        """(..., A) float32 of actions (..., A) of a box, or of indices (...)."""
        if not self.is_box:
            return one_hot(actions, self.count)
        if actions.device not in self._on:
            middle, half = (torch.from_numpy(each).to(actions.device) for each in (self._middle, self._half))
            self._on[actions.device] = middle, half
        middle, half = self._on[actions.device]
        return (actions - middle) / half

    def actions(self, numbers: Tensor) -> NDArray[Any]:
        """Actions that numbers (B, A) stand for, within the bounds; of one of several the largest."""
        found = numbers.cpu().numpy()
        if not self.is_box:
            return found.argmax(axis=-1).astype(np.int32)
        return (found * self._half + self._middle).astype(np.float32).clip(self._low, self._high)


def one_hot(indices: Tensor, count: int) -> Tensor:
    """(..., count) float32 of indices (...), without a look at them: torch's own reads them back to check them."""
    return (indices.unsqueeze(-1) == torch.arange(count, device=indices.device)).float()
