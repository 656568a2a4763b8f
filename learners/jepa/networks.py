"""Networks of the world model.

Legend: N frames or rows, D features, A numbers of an action.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learners.config import FRAME_SIZE
from learners.jepa.config import WorldModelConfig
from learners.part import to_unit


class Encoder(nn.Module):
    """Three convolutions, 64 × 64 to 8 × 8, one linear layer and LayerNorm, so that features are of one size."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        channels = config.channels
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels * (FRAME_SIZE // 8) ** 2, config.features),
            nn.LayerNorm(config.features),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """(N, D) of frames (N, 3, 64, 64) uint8."""
        return self.layers(to_unit(frames))


class Predictor(nn.Module):
    """z' = LayerNorm(z + MLP(z, a))."""

    def __init__(self, config: WorldModelConfig, action_size: int) -> None:
        super().__init__()
        self.change = _mlp(config.features + action_size, config.hidden, config.features)
        self.norm = nn.LayerNorm(config.features)

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """(N, D) of features (N, D) and actions (N, A)."""
        return self.norm(features + self.change(torch.cat([features, actions], dim=-1)))


class WorldModel(nn.Module):
    """A LatentModel, with the inverse model that its training needs."""

    def __init__(self, config: WorldModelConfig, action_size: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.predictor = Predictor(config, action_size)
        self.inverse = _mlp(2 * config.features, config.hidden, action_size)

    def encode(self, frames: Tensor) -> Tensor:
        return self.encoder(frames)

    def predict(self, features: Tensor, actions: Tensor) -> Tensor:
        return self.predictor(features, actions)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers)
