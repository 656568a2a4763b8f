"""How far a dream strays from what really happened under the same actions.

Legend: N starts, D imagined steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from learners.dataset import Dataset
from learners.dreaming.dream import DrawnDreams
from learners.inspection import Panel
from learners.nn.sampling import uniforms

MAX_STARTS = 16
MAX_DEPTH = 20
REPORTED_DEPTHS = (1, 5, 10, 20)


@dataclass(frozen=True)
class DreamError:
    """Mean |difference| of pixels on [0, 1] to the real frame d = 0 … D steps after the start, over the starts whose
    episode went on so long. A dream that shows nothing new is as wrong as a frame that stands still."""

    imagined: NDArray[np.float64]  # (D + 1,); at 0 it is that of what the policy sees
    still: NDArray[np.float64]  # (D + 1,) of the real start frame; 0 at 0
    starts: NDArray[np.int64]  # (D + 1,) how many

    def metrics(self) -> dict[str, float]:
        depths = [depth for depth in REPORTED_DEPTHS if depth < len(self.imagined)]
        imagined = {f"dream/pixel_error_{depth}": float(self.imagined[depth]) for depth in depths}
        return imagined | {f"dream/still_error_{depth}": float(self.still[depth]) for depth in depths}

    def panel(self) -> Panel:
        curves = {"dream": self.imagined, "start frame, standing still": self.still}
        return Panel("dream and reality, same actions", "imagined steps", "mean pixel error", curves)


def measure_dreams(world_model: DrawnDreams, dataset: Dataset, generator: torch.Generator) -> DreamError:
    """Dreams from the newest steps, under the actions that were really taken there."""
    rows = dataset.newest(MAX_DEPTH + 1)
    longest_first = np.argsort(-(rows > 0).sum(axis=1), kind="stable")
    rows = rows[longest_first[:MAX_STARTS]]
    rows = rows[:, (rows > 0).any(axis=0)]  # (N, D + 1)
    segments = dataset.gather(rows, ("frames", *world_model.dream_columns))
    noise = uniforms((rows.shape[1] - 1, len(rows), world_model.noise_per_step), generator)
    dream = world_model.dream(segments.until(1))
    for depth in range(rows.shape[1] - 1):
        dream.step(segments.actions[:, depth], noise[depth])
    real = segments.columns["frames"]  # (N, D + 1, 3, 64, 64)
    shown = torch.stack([world_model.render(features) for features in dream.features], dim=1)
    mask = segments.mask.cpu().numpy()

    def error(frames: torch.Tensor) -> NDArray[np.float64]:
        differences = (frames.int() - real.int()).abs().flatten(2).double().mean(dim=2).cpu().numpy() / 255.0
        return np.average(differences, axis=0, weights=mask)

    return DreamError(error(shown), error(real[:, :1]), mask.sum(axis=0))
