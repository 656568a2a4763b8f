"""Surprise: how wrong a world model is about what comes next, as a detector of what cannot be.

Legend: T steps, D features.
Source: Garrido et al. (2025), Intuitive physics understanding emerges from self-supervised pretraining on natural
videos, for the error of prediction as a measure of surprise.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.planning.plans import Plans


@torch.no_grad()
def surprise(algorithm: Plans, frames: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Of each step of an episode (T,), and how much it changed (T,), which knows nothing of what could have happened.

    mean over D of (Pred(z_t, a_t) − z_{t+1})² and of (z_{t+1} − z_t)², of frames (T + 1, 3, 64, 64) uint8 and actions
    (T,), in a box (T, A).
    """
    features = algorithm.observe(frames)
    expected = algorithm.foresee(features[:-1], actions)
    return (expected - features[1:]).square().mean(dim=-1), features.diff(dim=0).square().mean(dim=-1)


def area_under_curve(tampered: NDArray[np.float64], intact: NDArray[np.float64]) -> float:
    """Of the ROC: the probability that a tampered episode's score is above an intact one's; a tie is half."""
    above = (tampered[:, None] > intact[None]).mean() + 0.5 * (tampered[:, None] == intact[None]).mean()
    return float(above)
