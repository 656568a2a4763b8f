"""Networks of the world model.

Legend: N frames or rows, D features, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from learners.config import FRAME_SIZE
from learners.dreaming.actor_critic import ActorCritic
from learners.jepa.config import ActorCriticConfig, HeadsConfig, WorldModelConfig
from learners.nn.mlp import mlp
from learners.nn.sampling import sample_categorical
from learners.nn.slow_copy import follow
from learners.part import to_unit
from learners.planning.numbers import one_hot

LOUDNESS = 10.0
"""Of a code among the predictor's inputs, where another is 0: as one number of many it would be hardly heard, and codes
stay alike for thousands of gradient steps."""


class Encoder(nn.Module):
    """Three convolutions, 64 × 64 to 8 × 8, one linear layer, and LayerNorm, so that features are of one size.

    For `sigreg` it is BatchNorm: vectors of one length are no Gaussian.
    """

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
            nn.BatchNorm1d(config.features) if config.regulariser.kind == "sigreg" else nn.LayerNorm(config.features),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """(N, D) of frames (N, 3, 64, 64) uint8."""
        return self.layers(to_unit(frames))


class Predictor(nn.Module):
    """z' = LayerNorm(z + MLP(z, a)), for `sigreg` without the LayerNorm."""

    def __init__(self, config: WorldModelConfig, action_size: int) -> None:
        super().__init__()
        self.change = mlp(config.features + action_size, config.hidden, config.features)
        self.norm = nn.Identity() if config.regulariser.kind == "sigreg" else nn.LayerNorm(config.features)

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """(N, D) of features (N, D) and actions (N, A)."""
        return self.norm(features + self.change(torch.cat([features, actions], dim=-1)))


class WorldModel(nn.Module):
    """A LatentModel, with what its training needs: an inverse model, and for `ema` a slow copy of the encoder.

    Where a step can have several outcomes, a code says which: z' = Pred(z, a, code), and the prior how likely each is.
    """

    def __init__(self, config: WorldModelConfig, action_size: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.codes = config.latent.codes
        """C."""
        self.predictor = Predictor(config, action_size if self.codes == 1 else action_size + self.codes)
        inputs = config.features + action_size
        self.prior = None if self.codes == 1 else mlp(inputs, config.hidden, self.codes)
        self.inverse = mlp(2 * config.features, config.hidden, action_size)
        regulariser = config.regulariser
        self.teacher = deepcopy(self.encoder).requires_grad_(False) if regulariser.kind == "ema" else None
        self._rate = regulariser.rate

    def encode(self, frames: Tensor) -> Tensor:
        return self.encoder(frames)

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        if self.prior is None:
            return self.predict_by(features, actions)
        logits = self.prior(torch.cat([features, actions], dim=-1))
        code = logits.argmax(dim=-1) if uniforms is None else sample_categorical(logits, uniforms)
        return self.predict_by(features, actions, code)

    def predict_by(self, features: Tensor, actions: Tensor, codes: Tensor | None = None) -> Tensor:
        """`predict`, where codes (M,) say how each step turns out; None if there are none."""
        if self.prior is None or codes is None:
            return self.predictor(features, actions)
        return self.predictor(features, torch.cat([actions, LOUDNESS * one_hot(codes, self.codes)], dim=-1))

    def outcomes(self, features: Tensor, actions: Tensor) -> Tensor:
        """(M, C, D): by each code, features one step after features (M, D) under actions (M, A)."""
        every = LOUDNESS * torch.eye(self.codes, device=features.device).expand(len(features), -1, -1)
        repeated = [each.unsqueeze(1).expand(-1, self.codes, -1) for each in (features, actions)]
        return self.predictor(repeated[0], torch.cat([repeated[1], every], dim=-1))

    def follow(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        """For `Part.after_step`: the teacher the encoder."""
        assert self.teacher is not None
        follow(self.teacher, self.encoder, self._rate, is_taken)


class Heads(nn.Module):
    """Reward, and the logit of the end, of features after an action; and the place that features tell."""

    def __init__(self, features: int, config: HeadsConfig) -> None:
        super().__init__()
        self.layers = mlp(features, config.hidden, 2)
        self.places = None if config.place == "none" else mlp(features, config.hidden, 2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(...) each, of features (..., D)."""
        rewards, ends = self.layers(features).unbind(-1)
        return rewards, ends

    def place(self, features: Tensor) -> Tensor:
        """(x, y) in pixels of a frame (..., 2), of features (..., D)."""
        assert self.places is not None
        return (self.places(features) + 1.0) * (FRAME_SIZE / 2)


class Decoder(nn.Module):
    """The encoder's mirror: one linear layer to 8 × 8, two transposed convolutions to 64 × 64."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        size = FRAME_SIZE // 8
        self.layers = nn.Sequential(
            nn.Linear(features, channels * size**2),
            nn.ReLU(),
            nn.Unflatten(1, (channels, size, size)),
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, 3, 4, stride=4),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, 3, 64, 64) in about [0, 1], of features (N, D)."""
        return self.layers(features)


def feature_actor_critic(config: ActorCriticConfig, features: int, num_actions: int) -> ActorCritic:
    """One layer before the LSTM: features (N, D) need no convolutions."""
    layer = nn.Sequential(nn.Linear(features, config.hidden), nn.ReLU())
    return ActorCritic(layer, config.hidden, config.lstm_size, num_actions)
