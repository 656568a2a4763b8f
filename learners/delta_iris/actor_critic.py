"""The network of Δ-IRIS's policy and its value.

Source: Micheli, Alonso, Fleuret, "Efficient World Models with Context-Aware Tokenization", ICML 2024.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from learners.delta_iris.config import ActorCriticConfig
from learners.dreaming.actor_critic import ActorCritic
from learners.dreaming.value_head import ScalarValue, TwoHotValue
from learners.nn.residual_encoder import ResidualEncoder


def residual_actor_critic(config: ActorCriticConfig, num_actions: int) -> ActorCritic:
    """Residual encoder → LSTM → policy and value, on frames (N, 3, 64, 64) in [0, 1]; every value is 0 at first."""
    head = ScalarValue if config.values == "scalar" else partial(TwoHotValue, buckets=config.value_buckets)
    encoder = ResidualEncoder(config.encoder, 3)
    size = config.encoder.num_features
    actor_critic = ActorCritic(encoder, size, config.lstm_size, num_actions, head, sees_padding=True)
    for parameter in actor_critic.value.parameters():
        nn.init.zeros_(parameter)
    return actor_critic
