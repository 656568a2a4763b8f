"""What a planner needs of a world model: features of frames, and what an action makes of them.

Legend: E environments, N candidates, M rows, H steps, D features, A numbers of an action (of one of n actions: n, one
of them 1 and the others 0).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Predicts(Protocol):
    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Features (M, D) one step after features (M, D) under actions (M, A).

        Where one action can have several outcomes: the likeliest, or one that is drawn with uniforms (M,).
        """
        ...


class LatentModel(Predicts, Protocol):
    def encode(self, frames: Tensor) -> Tensor:
        """Features (M, D) of frames (M, 3, 64, 64) uint8."""
        ...


def with_goals(features: Tensor, goals: Tensor | None) -> Tensor:
    """Features (..., D) beside goals (..., D), which broadcast, (..., 2 D); or as they are."""
    return features if goals is None else torch.cat([features, goals.expand_as(features)], dim=-1)


def imagine(model: Predicts, start: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
    """Predicted features (E, N, H + 1, D) from start (E, D) on, which comes first, under actions (E, N, H, A).

    The likeliest, or with uniforms (E, N, H) drawn ones.
    """
    shape = actions.shape[:2]
    features = start.unsqueeze(1).expand(-1, shape[1], -1).flatten(0, 1)  # (E · N, D)
    predicted = [features]
    drawn = [None] * actions.shape[2] if uniforms is None else uniforms.flatten(0, 1).unbind(1)
    for step, draw in zip(actions.flatten(0, 1).unbind(1), drawn, strict=True):
        predicted.append(model.predict(predicted[-1], step, draw))
    return torch.stack(predicted, dim=1).unflatten(0, shape)
