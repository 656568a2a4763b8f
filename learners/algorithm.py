"""The seam between algorithms: all that the rest of the pipeline knows of one.

An algorithm owns everything it trains: its parts in order, what is derived from them, who acts, and how it is looked
at. What only some can offer (to be dreamt in, say) are protocols of their own, in `learners/dreaming/dream.py`.

Legend: B environments side by side or batch, T time, F the shape of what is made of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learners.action_space import Actions, ActionSpace
from learners.config import AlgorithmConfig
from learners.dataset import Dataset
from learners.errors import AlgorithmError
from learners.inspection import Inspection
from learners.memory import is_too_large
from learners.part import Derived, Part
from learners.weights import load_flat_weights


class Actor(Protocol):
    """Chooses actions; what it remembers of an episode is an argument and a result, whatever it is.

    Episodes are played in lock step: all begin together, with `initial_state`, and those that have ended are still in
    the batch (what `act` says for them is not done) until the last one ends. Every phase of collecting begins with
    `burn_in` of what was running. Collecting may replace the actions of a step by random ones, which `act` is not told:
    a state that holds the last action of its own is not the one that `burn_in` makes.
    """

    history: int
    """Steps of a running episode from which `burn_in` makes a state."""

    def initial_state(self, batch_size: int) -> Any:
        """Of B episodes before their first step."""
        ...

    def burn_in(self, frames: NDArray[np.uint8], actions: Actions, mask: NDArray[np.bool_]) -> Any:
        """State after the last steps of running episodes: frames (B, T, 3, 64, 64), actions (B, T), T = `history`.

        Where mask (B, T) is False, on the left, the episode had not begun.
        """
        ...

    def act(
        self, frames: NDArray[np.uint8], state: Any, generator: np.random.Generator, *, temperature: float
    ) -> tuple[Actions, Any]:
        """Actions (B,), in a box (B, A), for frames (B, 3, 64, 64), and the next state.

        Of every random decision the temperature says how far it strays from the best: 1 is as trained. How much is
        drawn from the generator must not depend on what is drawn.
        """
        ...


@runtime_checkable
class Aims(Actor, Protocol):
    """An actor that can be told what to reach."""

    def aim(self, state: Any, goals: NDArray[np.uint8]) -> Any:
        """State of running episodes that from now on go for what frames (B, 3, 64, 64) show."""
        ...


class Thought(NamedTuple):
    """What an actor makes of a moment."""

    actions: Actions  # (B,), in a box (B, A): what it does
    state: Any
    odds: Tensor | None = None  # (B, A), of each of several actions
    value: Tensor | None = None  # (B,): what it expects to earn from now on
    foreseen: Tensor | None = None  # (B, H, *F) after the steps of its plan
    beyond: Tensor | None = None  # (B, P, *F) after the strides of an upper level's plan


@runtime_checkable
class Thinks(Actor, Protocol):
    """An actor that says what it thinks, and needs no frames: what is made of them, seen or dreamt, will do."""

    def burn_in_on(self, features: Tensor, mask: Tensor) -> Any:
        """`burn_in`, on features (B, T, *F); mask (B, T)."""
        ...

    def think(self, features: Tensor, state: Any, generator: np.random.Generator, *, temperature: float) -> Thought:
        """`act`, on features (B, *F)."""
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
    action_space: ActionSpace

    def build(self, *, record: bool = False) -> Algorithm:
        """Freshly initialised from torch's global generator.

        Raises: AlgorithmError, in one line, if it is not what it says, or too large for this machine.
        """
        try:
            algorithm = self.algorithm.build(self.action_space, record=record)
        except (RuntimeError, MemoryError, OverflowError, TypeError) as error:
            if not is_too_large(error):
                raise
            reason = str(error).partition("\n")[0]
            raise AlgorithmError(f"{self.algorithm.kind}: networks too large for this machine: {reason}") from error
        check_algorithm(algorithm, self.algorithm)
        return algorithm


def check_algorithm(algorithm: Algorithm, config: AlgorithmConfig) -> None:
    """Raises AlgorithmError, in one line, unless its parts are those of its settings, in their order, and every column
    that one of them reads is there: `frames`, or derived from parts before it and from columns that are."""
    names, planned = [part.name for part in algorithm.parts], list(config.trainings)
    if names != planned:
        raise AlgorithmError(f"{config.kind}: found the parts {names}, expected {planned}, as its `trainings` has them")
    derived = algorithm.derived
    for name, column in derived.items():
        if column.part not in names:
            raise AlgorithmError(f"{config.kind}: column {name!r} is derived from part {column.part!r}, not of {names}")

    def check_sources(chain: tuple[str, ...], before: Sequence[str]) -> None:
        name = chain[-1]
        if name == "frames":
            return
        if name not in derived or name in chain[:-1]:
            words = " from ".join(map(repr, chain))
            raise AlgorithmError(f"{config.kind}: column {words}: expected 'frames' in the end, each column once")
        if derived[name].part not in before:
            words = f"column {name!r} of part {derived[name].part!r}, expected of parts before it only, {list(before)}"
            raise AlgorithmError(f"{config.kind}: {words}")
        for source in derived[name].sources:
            check_sources((*chain, source), before)

    for name in derived:
        check_sources((name,), names)
    known = ["frames", *derived]
    for index, part in enumerate(algorithm.parts):
        if missing := [column for column in part.columns if column not in known]:
            raise AlgorithmError(f"{config.kind}: part {part.name!r} reads {missing}, expected some of {known}")
        for column in part.columns:
            check_sources((column,), names[:index])


class Agent:
    """Acts ε-greedily with weights that come from a learner."""

    def __init__(self, config: AgentConfig, device: torch.device) -> None:
        algorithm = config.build()
        self._action_space = config.action_space
        self._modules = algorithm.acting_modules()
        for module in self._modules.values():
            module.to(device).eval()
        self.actor = algorithm.actor()

    def load(self, weights: NDArray[np.uint8]) -> None:
        load_flat_weights(self._modules, weights)

    def act(
        self,
        frames: NDArray[np.uint8],
        state: Any,
        generator: np.random.Generator,
        *,
        epsilon: float,
        temperature: float,
    ) -> tuple[Actions, Any]:
        """Actions (B,), in a box (B, A), for frames (B, 3, 64, 64) and the next state.

        With probability epsilon, one coin for the whole batch, all actions are uniformly random instead of the actor's.
        What is drawn from the generator does not depend on the outcome. With epsilon 1 the actor is not asked, and its
        state stays as it was.
        """
        explores = generator.random() < epsilon
        random_actions = self._action_space.sample(generator, len(frames))
        if epsilon == 1:
            return random_actions, state
        chosen, state = self.actor.act(frames, state, generator, temperature=temperature)
        return random_actions if explores else chosen, state
