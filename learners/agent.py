"""What acts in an environment: the world model's view of a frame, and the policy.

Legend: B environments side by side, T time. Randomness comes in as a generator: a batch draws the same anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from learners.actor_critic import ActorCritic, State
from learners.config import ActorCriticConfig, IrisConfig
from learners.nn.sampling import sample_categorical
from learners.weights import unpack
from learners.world_model import WorldModel


@dataclass(frozen=True)
class AgentConfig:
    """All that determines an agent's networks."""

    world_model: IrisConfig
    actor_critic: ActorCriticConfig
    num_actions: int

    def build(self) -> tuple[WorldModel, ActorCritic]:
        """Networks freshly initialised from torch's global generator."""
        world_model = self.world_model.build(self.num_actions)
        return world_model, ActorCritic(self.actor_critic, world_model.feature_shape, self.num_actions)


class Agent:
    """Acts ε-greedily; its recurrent state is an argument, its weights come from a learner."""

    def __init__(self, config: AgentConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.world_model, self.actor_critic = config.build()
        self.modules = acting_modules(self.world_model, self.actor_critic)
        for module in self.modules.values():
            module.to(device).eval()

    def load(self, weights: NDArray[np.float32]) -> None:
        unpack(self.modules, weights)

    def initial_state(self, batch_size: int) -> State:
        return self.actor_critic.initial_state(batch_size)

    @torch.no_grad()
    def burn_in(self, frames: NDArray[np.uint8], mask: NDArray[np.bool_]) -> State:
        """State after frames (B, T, 3, 64, 64); where mask (B, T) is False the step is skipped."""
        if mask.shape[1] == 0:
            return self.initial_state(len(mask))
        flat = torch.from_numpy(frames).to(self.device).flatten(0, 1)
        features = self.world_model.observe(flat).unflatten(0, mask.shape)  # (B, T, *F)
        return self.actor_critic.burn_in(features, torch.from_numpy(mask).to(self.device))

    @torch.no_grad()
    def act(
        self,
        frames: NDArray[np.uint8],
        state: State,
        generator: np.random.Generator,
        *,
        epsilon: float,
        temperature: float,
    ) -> tuple[NDArray[np.int64], State]:
        """Actions (B,) for frames (B, 3, 64, 64) and the next state.

        They are drawn from softmax(logits / temperature); with probability epsilon, one coin for the whole batch, all
        of them are uniformly random instead. What is drawn from the generator does not depend on the outcome.
        """
        explores = generator.random() < epsilon
        random_actions = generator.integers(self.config.num_actions, size=len(frames))
        uniforms = torch.from_numpy(generator.random(len(frames), dtype=np.float32)).to(self.device)
        features = self.world_model.observe(torch.from_numpy(frames).to(self.device))
        logits, _, state = self.actor_critic(features, state)
        chosen = sample_categorical(logits / temperature, uniforms).cpu().numpy()
        return random_actions if explores else chosen, state


def acting_modules(world_model: WorldModel, actor_critic: ActorCritic) -> Mapping[str, nn.Module]:
    """The modules whose weights a learner publishes and an agent loads."""
    return {**world_model.acting_modules(), "actor_critic": actor_critic}
