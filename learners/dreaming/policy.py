"""The actor of a policy that learns in imagination.

Legend: B environments side by side, T time, F the feature shape.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.action_space import Actions
from learners.dreaming.actor_critic import ActorCritic, State
from learners.dreaming.dream import Observes
from learners.nn.sampling import sample_categorical


class Judgement(NamedTuple):
    """What a policy makes of a moment."""

    logits: Tensor  # (B, A)
    values: Tensor  # (B,), in the unit of the rewards of dreams
    state: State


class PolicyActor:
    """Draws from softmax(logits / temperature); its state is that of the LSTM."""

    def __init__(self, observes: Observes, actor_critic: ActorCritic, history: int) -> None:
        self.history = history
        self._observes = observes
        self._actor_critic = actor_critic

    def initial_state(self, batch_size: int) -> State:
        return self._actor_critic.initial_state(batch_size)

    @torch.no_grad()
    def burn_in(self, frames: NDArray[np.uint8], actions: Actions, mask: NDArray[np.bool_]) -> State:
        """The policy sees no actions."""
        if mask.shape[1] == 0:
            return self.initial_state(len(mask))
        flat = torch.from_numpy(frames).to(self._device).flatten(0, 1)
        features = self._observes.observe(flat).unflatten(0, mask.shape)  # (B, T, *F)
        return self.burn_in_on(features, torch.from_numpy(mask).to(self._device))

    def burn_in_on(self, features: Tensor, mask: Tensor) -> State:
        """The same, of features (B, T, *F) that are known; mask (B, T)."""
        return self._actor_critic.burn_in(features, mask)

    @torch.no_grad()
    def act(
        self, frames: NDArray[np.uint8], state: State, generator: np.random.Generator, *, temperature: float
    ) -> tuple[NDArray[np.int64], State]:
        uniforms = torch.from_numpy(generator.random(len(frames), dtype=np.float32)).to(self._device)
        judgement = self.judge(self._observes.observe(torch.from_numpy(frames).to(self._device)), state)
        return sample_categorical(judgement.logits / temperature, uniforms).cpu().numpy(), judgement.state

    @torch.no_grad()
    def judge(self, features: Tensor, state: State) -> Judgement:
        """Of features (B, *F), seen or dreamt."""
        logits, outputs, state = self._actor_critic(features, state)
        return Judgement(logits, self._actor_critic.value.mean(outputs), state)

    @property
    def _device(self) -> torch.device:
        return self._actor_critic.policy.weight.device
