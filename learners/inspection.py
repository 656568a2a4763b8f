"""A look at an algorithm's parts, because a curve of scores does not say which of them is broken.

All of it is measured before an iteration trains, on the steps it has just collected: no part has seen them.

Legend: N frames, T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from learners.dataset import Dataset
from learners.part import Part

MAX_HELD_OUT = 256
"""Steps."""


@dataclass(frozen=True)
class Grid:
    """Rows of frames, one below the other."""

    rows: Sequence[NDArray[np.uint8]]  # each (N, 3, 64, 64)


@dataclass(frozen=True)
class Film:
    """Frames of the same moments side by side, as they follow each other."""

    columns: Sequence[NDArray[np.uint8]]  # each (T, 3, 64, 64)


@dataclass(frozen=True)
class Panel:
    """One pair of axes of a chart."""

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Label -> values at 0, 1, 2, …"""
    points: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    """Horizontal and vertical place of each; where both are equal, a line is drawn."""


@dataclass(frozen=True)
class Chart:
    panels: Sequence[Panel]


Picture = Grid | Film | Chart


@dataclass(frozen=True)
class Inspection:
    metrics: dict[str, float]
    pictures: Mapping[str, Picture]
    """By name, which becomes that of a file."""
    remarks: Sequence[str] = ()
    """What who watches the run is told, a line each."""


@torch.no_grad()
def held_out(parts: Sequence[Part], dataset: Dataset, generator: torch.Generator) -> dict[str, float]:
    """Losses and metrics of the parts on the newest steps, as `held_out/<part>/<name>`.

    All of them are one batch; of more than `MAX_HELD_OUT`, so many, evenly spread.
    """
    metrics = {}
    for part in parts:
        rows = dataset.newest(part.drawing.length)
        kept = np.linspace(0, len(rows) - 1, min(len(rows), max(1, MAX_HELD_OUT // part.drawing.length))).astype(int)
        rows = rows[kept]
        losses = part.loss(dataset.gather(rows, part.columns), part.draw_noise(len(rows), generator))
        terms = {f"loss/{name}": term.value for name, term in losses.terms.items()}
        metrics |= {f"held_out/{part.name}/{name}": float(value) for name, value in {**terms, **losses.metrics}.items()}
    return metrics
