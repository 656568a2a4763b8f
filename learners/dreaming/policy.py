"""The actor of a policy that learns in imagination.

Legend: B environments side by side, T time, F the feature shape.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.action_space import Actions
from learners.algorithm import Thought
from learners.dreaming.actor_critic import ActorCritic, State
from learners.dreaming.dream import Observes
from learners.nn.sampling import sample_categorical


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
        return self._actor_critic.burn_in(features, mask)

    @torch.no_grad()
    def act(
        self, frames: NDArray[np.uint8], state: State, generator: np.random.Generator, *, temperature: float
    ) -> tuple[Actions, State]:
        features = self._observes.observe(torch.from_numpy(frames).to(self._device))
        thought = self.think(features, state, generator, temperature=temperature)
        return thought.actions, thought.state

    @torch.no_grad()
    def think(self, features: Tensor, state: State, generator: np.random.Generator, *, temperature: float) -> Thought:
        """Values are in the unit of the rewards of dreams."""
        uniforms = torch.from_numpy(generator.random(len(features), dtype=np.float32)).to(self._device)
        logits, outputs, state = self._actor_critic(features, state)
        logits = logits / temperature
        actions = sample_categorical(logits, uniforms).cpu().numpy()
        return Thought(actions, state, logits.softmax(dim=-1), self._actor_critic.value.mean(outputs))

    @property
    def _device(self) -> torch.device:
        return self._actor_critic.policy.weight.device
