"""The network of the policy and its value.

Legend: B batch, T time, F feature shape (3, 64, 64), A actions, S LSTM size, V shape of what the value head puts out
for a state: () for a number, which is the value, or (buckets,).
Source: Micheli, Alonso, Fleuret (2023), appendix A.3.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from learners.dreaming.config import ActorCriticConfig
from learners.dreaming.value_head import ScalarValue, ValueHead
from learners.nn.convolution import FoldPatches
from learners.nn.precision import full_precision

State = tuple[Tensor, Tensor]
"""Hidden and cell state of the LSTM, each (B, S)."""


class ActorCritic(nn.Module):
    """CNN → LSTM cell → policy logits and value, on image features in [0, 1]; always in float32."""

    def __init__(
        self,
        cnn: nn.Module,
        embedding_size: int,
        lstm_size: int,
        num_actions: int,
        value_head: Callable[[int], ValueHead] = ScalarValue,
        *,
        sees_padding: bool = False,
    ) -> None:
        """
        Args:
            cnn: features (N, *F) -> (N, ...), `embedding_size` numbers each.
            value_head: makes the head for an LSTM of so many features.
            sees_padding: whether a burn-in takes the padding before an episode for steps; otherwise it skips them.
        """
        super().__init__()
        self._sees_padding = sees_padding
        self.cnn = cnn
        self.lstm = nn.LSTMCell(embedding_size, lstm_size)
        self.policy = nn.Linear(lstm_size, num_actions)
        self.value = value_head(lstm_size)

    def initial_state(self, batch_size: int) -> State:
        zeros = self.policy.weight.new_zeros(batch_size, self.lstm.hidden_size)
        return zeros, zeros

    def embed(self, features: Tensor) -> Tensor:
        """(N, *F) -> (N, embedding size)."""
        return self.cnn(features.float()).flatten(1)

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """One step: logits (B, A), the value head's outputs (B, *V) and the next state of features (B, *F)."""
        with full_precision(features.device):
            state = self.lstm(self.embed(features), state)
            return self.policy(state[0]), self.value(state[0]), state

    def unroll(self, features: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Logits (B, T, A) and the value head's outputs (B, T, *V) of features (B, T, *F); one pass of the CNN over B·T
        frames."""
        with full_precision(features.device):
            hidden = []
            for embedding in self._embed_sequence(features).unbind(1):
                state = self.lstm(embedding, state)
                hidden.append(state[0])
            stacked = torch.stack(hidden, dim=1)  # (B, T, S)
            return self.policy(stacked), self.value(stacked)

    @torch.no_grad()
    def burn_in(self, features: Tensor, mask: Tensor) -> State:
        """State after features (B, T, *F); where mask (B, T) is False the step is skipped, unless padding is seen."""
        state = self.initial_state(len(features))
        if features.shape[1] == 0:
            return state
        with full_precision(features.device):
            for embedding, real in zip(self._embed_sequence(features).unbind(1), mask.unbind(1), strict=True):
                hidden, cell = self.lstm(embedding, state)
                real = real.unsqueeze(1) | self._sees_padding
                state = torch.where(real, hidden, state[0]), torch.where(real, cell, state[1])
            return state

    def _embed_sequence(self, features: Tensor) -> Tensor:
        """(B, T, *F) -> (B, T, embedding size)."""
        return self.embed(features.flatten(0, 1)).unflatten(0, features.shape[:2])


def pooling_actor_critic(config: ActorCriticConfig, feature_shape: tuple[int, ...], num_actions: int) -> ActorCritic:
    """That of IRIS: convolutions, each followed by a max-pool."""
    channels, side = feature_shape[0], feature_shape[-1]
    layers: list[nn.Module] = [FoldPatches(config.patch_size)]
    for before, after in pairwise((channels * config.patch_size**2, *config.channels)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
    embedding_size = config.channels[-1] * (side // config.patch_size // 2 ** len(config.channels)) ** 2
    return ActorCritic(_Centred(*layers), embedding_size, config.lstm_size, num_actions)


class _Centred(nn.Sequential):
    """Layers that see features on [−1, 1]."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input * 2.0 - 1.0)
