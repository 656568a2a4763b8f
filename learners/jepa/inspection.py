"""A look at a world model of features: has it collapsed, does it heed actions, how far do its predictions stray.

Legend: N starts, T steps, D features, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
def inspect_features(
    model: WorldModel,
    numbers: Numbers,
    dataset: Dataset,
    places: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    place: Callable[[Tensor], Tensor] = lambda features: features,
) -> Inspection:
    """On the newest steps, as the model is.

    Args:
        places: in pixels (..., 2) of frames, and whether there are any (...); None if nobody asks for places.
        place: the same of features (..., D).
    """
    rows = dataset.newest(DEPTH + 1)
    rows = rows[np.argsort(-(rows > 0).sum(axis=1), kind="stable")[:MAX_STARTS]]
    segments = dataset.gather(rows[:, (rows > 0).any(axis=0)], ("features", "frames")[: 1 + (places is not None)])
    features, mask, actions = segments.columns["features"], segments.mask, numbers.of(segments.actions)
    real = features[mask]  # (M, D)
    mean_std = float(spread(real, torch.ones(len(real), dtype=torch.bool, device=real.device)))
    metrics = {"features/mean_std": mean_std, "features/effective_rank": _effective_rank(real)}
    predicted = _roll_out(model, features[:, 0], actions)
    rollout = _errors(predicted, features, mask)
    depths = [depth for depth in REPORTED_DEPTHS if depth < len(rollout.predicted)]
    metrics |= {f"features/relative_error_{depth}": float(rollout.predicted[depth]) for depth in depths}
    metrics |= {f"features/still_error_{depth}": float(rollout.still[depth]) for depth in depths}
    remarks = ()
    if mean_std < COLLAPSED_BELOW:
        words = "the world model has collapsed: its features are nearly the same whatever it sees"
        remarks = (f"{words} (mean standard deviation {mean_std:.3f}, about 1 when healthy)",)
    curves = {"predicted": rollout.predicted, "as at the start": rollout.still}
    panels = [Panel("features, same actions", "predicted steps", "squared error / variance", curves)]
    if places is not None:
        real_places, is_there = places(segments.columns["frames"])  # (N, T + 1, 2), (N, T + 1)
        is_there = is_there & mask
        off = _mean_over_starts((place(predicted) - real_places).norm(dim=-1), is_there)
        away = _mean_over_starts((real_places[:, :1] - real_places).norm(dim=-1), is_there & is_there[:, :1])
        metrics |= {f"place/error_{depth}": float(off[depth]) for depth in (0, *depths)}
        known, true = features[is_there], real_places[is_there]
        metrics |= {f"place/linear_{name}": value for name, value in _linear_probe(known, true).items()}
        panels.append(
            Panel("place, same actions", "predicted steps", "pixels", {"predicted": off, "as at the start": away})
        )
    return Inspection(metrics, {"measurements": Chart(panels)}, remarks)


def _roll_out(model: WorldModel, start: Tensor, actions: Tensor) -> Tensor:
    """(N, T + 1, D) from start (N, D) on, which comes first, under the actions (N, T + 1, A) that were taken."""
    predicted = [start]
    for action in actions[:, :-1].unbind(1):
        predicted.append(model.predict(predicted[-1], action))
    return torch.stack(predicted, dim=1)


def _errors(predicted: Tensor, features: Tensor, mask: Tensor) -> Rollout:
    variance = features[mask].var(dim=0, correction=0).mean().clamp(min=1e-12)

    def error(found: Tensor) -> NDArray[np.float64]:
        return _mean_over_starts((found - features).square().mean(dim=-1) / variance, mask)

    return Rollout(error(predicted), error(features[:, :1]))


def _mean_over_starts(values: Tensor, mask: Tensor) -> NDArray[np.float64]:
    """(T + 1,) of values (N, T + 1) where mask is True; nan where it nowhere is."""
    return (torch.where(mask, values, 0.0).sum(dim=0) / mask.sum(dim=0)).double().cpu().numpy()


def _linear_probe(features: Tensor, places: Tensor) -> dict[str, float]:
    """How well a linear map tells places (M, 2) from features (M, D): fitted to every other row, tried on the others.

    Least squares with a ridge of 10⁻³ of the mean squared feature; the error in pixels, and R² = 1 − error² / variance.
    """
    known = torch.cat([features, torch.ones_like(features[:, :1])], dim=1).double()
    fitted, tried = known[::2], known[1::2]
    if not len(tried):
        return {}
    ridge = 1e-3 * fitted.square().mean() * torch.eye(known.shape[1], device=known.device, dtype=known.dtype)
    weights = torch.linalg.solve(fitted.T @ fitted / len(fitted) + ridge, fitted.T @ places[::2].double() / len(fitted))
    errors = tried @ weights - places[1::2].double()
    variance = (places[1::2] - places[1::2].mean(dim=0)).double().square().sum(dim=1).mean().clamp(min=1e-12)
    return {
        "error": float(errors.norm(dim=1).mean()),
        "r2": float(1.0 - errors.square().sum(dim=1).mean() / variance),
    }


def _effective_rank(features: Tensor) -> float:
    """exp of the entropy of the shares σ² / Σσ² of the singular values of centred features (M, D).

    It does not tell a collapse: it knows no scale.
    """
    shares = torch.linalg.svdvals(features - features.mean(dim=0)).square()
    shares = shares / shares.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))
