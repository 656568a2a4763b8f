"""Play that looks at nothing: every action is drawn from the same odds, which are all the weights there are.

It is the floor under whoever has learnt: uniform play, play that leans to one action, and in a box of numbers, where
the only weight is the share of its width that actions are drawn from, who stands still.

Legend: N actions; in a box 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from learners.action_space import Actions, ActionSpace, Discrete
from learners.config import AlgorithmConfig, PartTraining
from learners.dataset import Dataset
from learners.inspection import Inspection
from learners.part import Derived, Part


def uniform(action_space: ActionSpace) -> NDArray[np.uint8]:
    """Weights under which all actions are equally likely."""
    count = num_weights(action_space)
    return np.full(count, 1 / count).view(np.uint8)


def leaning(num_actions: int, action: int) -> NDArray[np.uint8]:
    """Weights under which `action` is taken half of the time, and a uniformly random one (it, too) otherwise."""
    return ((np.full(num_actions, 1 / num_actions) + np.eye(num_actions)[action]) / 2).view(np.uint8)


def standing_still() -> NDArray[np.uint8]:
    """Weights under which every action in a box is its middle."""
    return np.zeros(1).view(np.uint8)


def num_weights(action_space: ActionSpace) -> int:
    """N."""
    return action_space.count if isinstance(action_space, Discrete) else 1


class BlindConfig(AlgorithmConfig):
    """Acts without looking, and has no part that could be trained."""

    kind: str = "blind"

    @property
    def trainings(self) -> dict[str, PartTraining]:
        return {}

    def build(self, action_space: ActionSpace, *, record: bool = False) -> Blind:
        return Blind(action_space)


class Blind(nn.Module):
    """The algorithm and its actor. An action is drawn for each episode on its own; the temperature is not applied."""

    parts: Sequence[Part] = ()
    derived: Mapping[str, Derived] = MappingProxyType({})
    history = 0

    def __init__(self, action_space: ActionSpace) -> None:
        super().__init__()
        self._action_space = action_space
        self.odds = nn.Buffer(torch.zeros(num_weights(action_space), dtype=torch.float64))  # (N,)

    def acting_modules(self) -> Mapping[str, nn.Module]:
        return {"odds": self}

    def actor(self) -> Blind:
        return self

    def inspect(self, dataset: Dataset, iteration: int, generator: torch.Generator) -> Inspection:
        return Inspection({}, {})

    def initial_state(self, batch_size: int) -> None: ...

    def burn_in(self, frames: NDArray[np.uint8], actions: Actions, mask: NDArray[np.bool_]) -> None: ...

    def act(
        self, frames: NDArray[np.uint8], state: Any, generator: np.random.Generator, *, temperature: float
    ) -> tuple[Actions, Any]:
        odds, space = self.odds.numpy(force=True), self._action_space
        if isinstance(space, Discrete):
            return generator.choice(len(odds), size=len(frames), p=odds), state
        share, middle = np.float32(odds[0]), space.middle
        return share * space.sample(generator, len(frames)) + (1 - share) * middle, state
