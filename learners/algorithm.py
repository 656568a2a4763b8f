"""The seam between algorithms: all that the rest of the pipeline knows of one.

An algorithm owns everything it trains: its parts in order, what is derived from them, who acts, and how it is looked
at. What only some can offer (to be dreamt in, say) are protocols of their own, in `learners/dreaming/dream.py`.

Legend: B environments side by side or batch, T time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from learners.config import AlgorithmConfig
from learners.dataset import Dataset
from learners.inspection import Inspection
from learners.part import Derived, Part
from learners.weights import unpack


class Actor(Protocol):
    """Chooses actions; what it remembers of an episode is an argument and a result, whatever it is."""

    history: int
    """Steps of a running episode from which `burn_in` makes a state."""

    def initial_state(self, batch_size: int) -> Any:
        """Of B episodes before their first step."""
        ...

    def burn_in(self, frames: NDArray[np.uint8], actions: NDArray[np.int32], mask: NDArray[np.bool_]) -> Any:
        """State after the last steps of running episodes: frames (B, T, 3, 64, 64), actions (B, T), T = `history`.

        Where mask (B, T) is False, on the left, the episode had not begun.
        """
        ...

    def act(
        self, frames: NDArray[np.uint8], state: Any, generator: np.random.Generator, *, temperature: float
    ) -> tuple[NDArray[np.int64], Any]:
        """Actions (B,) for frames (B, 3, 64, 64), and the next state.

        Of every random decision the temperature says how far it strays from the best: 1 is as trained. How much is
        drawn from the generator must not depend on what is drawn.
        """
        ...


class Algorithm(Protocol):
    @property
    def parts(self) -> Sequence[Part]:
        """What is trained, in order."""
        ...

    @property
    def derived(self) -> Mapping[str, Derived]:
        """Columns that the dataset computes from frames; may be none."""
        ...

    def acting_modules(self) -> Mapping[str, nn.Module]:
        """What an actor needs the weights of."""
        ...

    def actor(self) -> Actor:
        """Acts with the weights that this algorithm has."""
        ...

    def inspect(self, dataset: Dataset, iteration: int, generator: torch.Generator) -> Inspection:
        """Looks at every part as it is, before an iteration trains: the newest steps are new to all of them."""
        ...


@dataclass(frozen=True)
class AgentConfig:
    """All that determines an agent's networks."""

    algorithm: AlgorithmConfig
    num_actions: int

    def build(self, *, record: bool = False) -> Algorithm:
        """Freshly initialised from torch's global generator."""
        return self.algorithm.build(self.num_actions, record=record)


class Agent:
    """Acts ε-greedily with weights that come from a learner."""

    def __init__(self, config: AgentConfig, device: torch.device) -> None:
        algorithm = config.build()
        self._num_actions = config.num_actions
        self._modules = algorithm.acting_modules()
        for module in self._modules.values():
            module.to(device).eval()
        self.actor = algorithm.actor()

    def load(self, weights: NDArray[np.uint8]) -> None:
        unpack(self._modules, weights)

    def act(
        self,
        frames: NDArray[np.uint8],
        state: Any,
        generator: np.random.Generator,
        *,
        epsilon: float,
        temperature: float,
    ) -> tuple[NDArray[np.int64], Any]:
        """Actions (B,) for frames (B, 3, 64, 64) and the next state.

        With probability epsilon, one coin for the whole batch, all actions are uniformly random instead of the actor's.
        What is drawn from the generator does not depend on the outcome.
        """
        explores = generator.random() < epsilon
        random_actions = generator.integers(self._num_actions, size=len(frames))
        chosen, state = self.actor.act(frames, state, generator, temperature=temperature)
        return random_actions if explores else chosen, state
