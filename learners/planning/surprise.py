"""Surprise: how wrong a world model is about what comes next, as a detector of what cannot be.

Legend: T steps, D features, A numbers of an action.
Source: Garrido et al. (2025), Intuitive physics understanding emerges from self-supervised pretraining on natural
videos, for the error of prediction as a measure of surprise.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.planning.model import LatentModel


@torch.no_grad()
def prediction_errors(model: LatentModel, frames: Tensor, actions: Tensor) -> Tensor:
    """(T,): mean over D of (Pred(z_t, a_t) − z_{t+1})², of frames (T + 1, 3, 64, 64) uint8 and actions (T, A)."""
    features = model.encode(frames)
    return (model.predict(features[:-1], actions) - features[1:]).square().mean(dim=-1)


@torch.no_grad()
def changes(model: LatentModel, frames: Tensor) -> Tensor:
    """(T,): mean over D of (z_{t+1} − z_t)², which knows nothing of what could have happened."""
    return model.encode(frames).diff(dim=0).square().mean(dim=-1)


def area_under_curve(tampered: NDArray[np.float64], intact: NDArray[np.float64]) -> float:
    """Of the ROC: the probability that a tampered episode's score is above an intact one's; a tie is half."""
    above = (tampered[:, None] > intact[None]).mean() + 0.5 * (tampered[:, None] == intact[None]).mean()
    return float(above)
