"""The policy and its value, trained in imagination only.

Legend: B batch, T time, H imagined transitions, F feature shape (3, 64, 64), A actions, S LSTM size.
Source: Micheli, Alonso, Fleuret (2023), section 2.3 and appendix A.3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from learners.config import ActorCriticConfig
from learners.nn.sampling import sample_categorical, uniforms
from learners.returns import lambda_returns
from learners.world_model import Losses, Part, Segments, WorldModel

State = tuple[Tensor, Tensor]
"""Hidden and cell state of the LSTM, each (B, S)."""


class ActorCritic(nn.Module):
    """CNN → LSTM cell → policy logits and value, on image features in [0, 1]."""

    def __init__(self, config: ActorCriticConfig, feature_shape: tuple[int, ...], num_actions: int) -> None:
        super().__init__()
        channels, side = feature_shape[0], feature_shape[-1]
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, *config.channels)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
        self.cnn = nn.Sequential(*layers, nn.Flatten())
        embedding_size = config.channels[-1] * (side // 2 ** len(config.channels)) ** 2
        self.lstm = nn.LSTMCell(embedding_size, config.lstm_size)
        self.policy = nn.Linear(config.lstm_size, num_actions)
        self.value = nn.Linear(config.lstm_size, 1)

    def initial_state(self, batch_size: int) -> State:
        zeros = self.policy.weight.new_zeros(batch_size, self.lstm.hidden_size)
        return zeros, zeros

    def embed(self, features: Tensor) -> Tensor:
        """(N, *F) -> (N, embedding size)."""
        return self.cnn(features * 2.0 - 1.0)

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """One step: logits (B, A), values (B,) and the next state of features (B, *F)."""
        state = self.lstm(self.embed(features), state)
        return self.policy(state[0]), self.value(state[0]).squeeze(1), state

    def unroll(self, features: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Logits (B, T, A) and values (B, T) of features (B, T, *F); one pass of the CNN over B·T frames."""
        embeddings = self.embed(features.flatten(0, 1)).unflatten(0, features.shape[:2])  # (B, T, D)
        hidden = []
        for embedding in embeddings.unbind(1):
            state = self.lstm(embedding, state)
            hidden.append(state[0])
        stacked = torch.stack(hidden, dim=1)  # (B, T, S)
        return self.policy(stacked), self.value(stacked).squeeze(2)

    @torch.no_grad()
    def burn_in(self, features: Tensor, mask: Tensor) -> State:
        """State after features (B, T, *F); where mask (B, T) is False the step is skipped."""
        state = self.initial_state(len(features))
        if features.shape[1] == 0:
            return state
        embeddings = self.embed(features.flatten(0, 1)).unflatten(0, features.shape[:2])  # (B, T, D)
        for embedding, real in zip(embeddings.unbind(1), mask.unbind(1), strict=True):
            hidden, cell = self.lstm(embedding, state)
            real = real.unsqueeze(1)
            state = torch.where(real, hidden, state[0]), torch.where(real, cell, state[1])
        return state


class Imagined(NamedTuple):
    """H imagined transitions; the policy saw one frame more than it made transitions."""

    features: Tensor  # (B, H + 1, *F)
    actions: Tensor  # (B, H)
    rewards: Tensor  # (B, H)
    ends: Tensor  # (B, H) bool
    state: State  # of the LSTM before the first imagined frame


@torch.no_grad()
def imagine(
    world_model: WorldModel, actor_critic: ActorCritic, context: Segments, num_steps: int, generator: torch.Generator
) -> Imagined:
    """Rolls the policy out in the world model for `num_steps` transitions, from the last frame of each context.

    The LSTM is burned in on the frames before; actions are sampled at temperature 1. Imagination goes on after an end.
    """
    batch_size = len(context.actions)
    noise = uniforms((num_steps, batch_size, world_model.noise_per_step + 1), generator)
    before = context.mask[:, :-1]
    state = burned_in = actor_critic.burn_in(world_model.context_features(context)[:, :-1], before)
    dream = world_model.dream(context, noise[:, :, 1:])
    actions, rewards, ends = [], [], []
    for t in range(num_steps):
        logits, _, state = actor_critic(dream.features[-1], state)
        actions.append(sample_categorical(logits, noise[t, :, 0]))
        reward, end = dream.step(actions[-1])
        rewards.append(reward)
        ends.append(end)
    features = torch.stack(dream.features, dim=1)
    return Imagined(features, torch.stack(actions, 1), torch.stack(rewards, 1), torch.stack(ends, 1), burned_in)


def actor_critic_loss(
    logits: Tensor, values: Tensor, imagined: Imagined, config: ActorCriticConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """REINFORCE with the value as baseline, value regression and an entropy bonus; means over B and H.

    policy −log π(a_t) · sg(G_t − V_t),  value (V_t − G_t)²,  entropy −η H(π).

    Args:
        logits: (B, H + 1, A), with gradient.  values: (B, H + 1), with gradient; the last one only bootstraps.
    """
    targets = lambda_returns(
        imagined.rewards, imagined.ends, values.detach(), discount=config.discount, lambda_=config.lambda_
    )  # (B, H)
    policy, values = Categorical(logits=logits[:, :-1]), values[:, :-1]
    advantages = targets - values.detach()
    entropy = policy.entropy().mean()
    terms = {
        "policy": -(policy.log_prob(imagined.actions) * advantages).mean(),
        "value": (values - targets).square().mean(),
        "entropy": -config.entropy_weight * entropy,
    }
    metrics = {
        "policy_entropy": entropy.detach(),
        "value_mean": values.detach().mean(),
        "return_mean": targets.mean(),
        "return_std": targets.std(correction=0),
        "advantage_std": advantages.std(correction=0),
        "imagined_reward_mean": imagined.rewards.mean(),
        "imagined_end_rate": imagined.ends.float().mean(),
    }
    return terms, metrics


def actor_critic_part(actor_critic: ActorCritic, world_model: WorldModel, config: ActorCriticConfig) -> Part:
    """The last part of every algorithm: its segments are burn-in frames and the frame a dream starts from."""

    def loss(context: Segments, generator: torch.Generator) -> Losses:
        imagined = imagine(world_model, actor_critic, context, config.horizon - 1, generator)
        logits, values = actor_critic.unroll(imagined.features, imagined.state)
        return Losses(*actor_critic_loss(logits, values, imagined, config))

    return Part(
        name="actor_critic",
        module=actor_critic,
        training=config.training,
        length=config.burn_in + 1,
        anchor="end",
        derived=world_model.dream_columns,
        loss=loss,
    )
