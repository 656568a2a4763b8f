"""A look at a world model of features: has it collapsed, does it heed actions, how far do its predictions stray.

Legend: N starts, T steps, D features, A numbers of an action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from learners.dataset import Dataset
from learners.inspection import Chart, Inspection, Panel
from learners.jepa.losses import spread
from learners.jepa.networks import WorldModel
from learners.planning.numbers import Numbers

MAX_STARTS = 64
DEPTH = 24
"""Predicted steps."""
REPORTED_DEPTHS = (1, 4, 8, 16, 24)
COLLAPSED_BELOW = 0.1
"""Mean standard deviation of features that are about 1 when they are healthy."""


@dataclass(frozen=True)
class Rollout:
    """Mean squared error of features t = 0 … T steps after the start, in units of their variance; and of features that
    stay as they were."""

    predicted: NDArray[np.float64]  # (T + 1,)
    still: NDArray[np.float64]  # (T + 1,)


@torch.no_grad()
def inspect_features(model: WorldModel, numbers: Numbers, dataset: Dataset) -> Inspection:
    """On the newest steps, as the model is."""
    rows = dataset.newest(DEPTH + 1)
    rows = rows[np.argsort(-(rows > 0).sum(axis=1), kind="stable")[:MAX_STARTS]]
    segments = dataset.gather(rows[:, (rows > 0).any(axis=0)], ("features",))
    features, mask, actions = segments.columns["features"], segments.mask, numbers.of(segments.actions)
    real = features[mask]  # (M, D)
    mean_std = float(spread(real, torch.ones(len(real), dtype=torch.bool, device=real.device)))
    metrics = {"features/mean_std": mean_std, "features/effective_rank": _effective_rank(real)}
    rollout = _roll_out(model, features, actions, mask)
    depths = [depth for depth in REPORTED_DEPTHS if depth < len(rollout.predicted)]
    metrics |= {f"features/relative_error_{depth}": float(rollout.predicted[depth]) for depth in depths}
    metrics |= {f"features/still_error_{depth}": float(rollout.still[depth]) for depth in depths}
    remarks = ()
    if mean_std < COLLAPSED_BELOW:
        words = "the world model has collapsed: its features are nearly the same whatever it sees"
        remarks = (f"{words} (mean standard deviation {mean_std:.3f}, about 1 when healthy)",)
    curves = {"predicted": rollout.predicted, "as at the start": rollout.still}
    panel = Panel("features, same actions", "predicted steps", "squared error / variance", curves)
    return Inspection(metrics, {"measurements": Chart([panel])}, remarks)


def _roll_out(model: WorldModel, features: torch.Tensor, actions: torch.Tensor, mask: torch.Tensor) -> Rollout:
    """From the first step of each segment, under the actions that were taken."""
    predicted = [features[:, 0]]
    for step in range(features.shape[1] - 1):
        predicted.append(model.predict(predicted[-1], actions[:, step]))
    variance = features[mask].var(dim=0, correction=0).mean().clamp(min=1e-12)

    def error(found: torch.Tensor) -> NDArray[np.float64]:
        errors = (found - features).square().mean(dim=-1) / variance  # (N, T + 1)
        return ((errors * mask).sum(dim=0) / mask.sum(dim=0)).double().cpu().numpy()

    return Rollout(error(torch.stack(predicted, dim=1)), error(features[:, :1]))


def _effective_rank(features: torch.Tensor) -> float:
    """exp of the entropy of the shares σ² / Σσ² of the singular values of centred features (M, D).

    It does not tell a collapse: it knows no scale.
    """
    shares = torch.linalg.svdvals(features - features.mean(dim=0)).square()
    shares = shares / shares.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))
