"""A picture of the sequence task: what networks make of it, what attention reads, how errors fall.

Legend: L samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from learners.durable import write_durably
from learners.toy.sequences import TRIANGLES, Sequences
from learners.toy.training import Trained

SHOWN = 4
"""Test sequences, a column each."""


def draw(path: Path, trained: Mapping[str, Trained]) -> None:
    """Of networks by name, trained on the same sequences. Triangles and squares mark the centres of shapes."""
    attends = {name: each for name, each in trained.items() if each.network.attention}
    rows = 1 + len(trained) + len(attends)
    figure = Figure(figsize=(3.2 * SHOWN, 2.2 * rows + 2.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.2 * rows, 2.6])
    above, below = parts
    axes = above.subplots(rows, SHOWN, squeeze=False)
    test = next(iter(trained.values())).test
    for column in range(SHOWN):
        _lines(axes[0, column], test, column, {"input": test.inputs, "target": test.targets})
        for row, (name, each) in enumerate(trained.items(), start=1):
            with torch.no_grad():
                outputs = each.network(torch.from_numpy(test.inputs[:SHOWN])).numpy()
            _lines(axes[row, column], test, column, {"target": test.targets, name: outputs})
        for row, (name, each) in enumerate(attends.items(), start=1 + len(trained)):
            with torch.no_grad():
                weights = each.network.attends(torch.from_numpy(test.inputs[:SHOWN]))[column].numpy()
            _weights(axes[row, column], test, column, weights, name)
    axis = below.subplots()
    for name, each in trained.items():
        axis.semilogy(range(1, 1 + len(each.errors)), each.errors, marker="o", markersize=3, label=name)
    axis.set(xlabel="epoch", ylabel="mean squared error on test sequences")
    axis.legend()
    data = BytesIO()
    figure.savefig(data, dpi=90)
    write_durably(path, data.getvalue())


def _lines(axis: Any, test: Sequences, index: int, signals: Mapping[str, np.ndarray]) -> None:
    for name, signal in signals.items():
        axis.plot(signal[index, 0], linewidth=1, label=name)
    _mark(axis, test, index)
    axis.set_ylim(-4, 27)
    axis.legend(fontsize="x-small", loc="upper right")


def _mark(axis: Any, test: Sequences, index: int, *, both: bool = False) -> None:
    """The centres of shapes along the lower edge, and with `both` along the left one."""
    for triangle, (centre, _, _) in zip(TRIANGLES, test.shapes[index], strict=True):
        marker = "^" if triangle else "s"
        style = {"marker": marker, "color": "black", "markersize": 5, "linestyle": "none", "clip_on": False}
        axis.plot([centre], [0.03], transform=axis.get_xaxis_transform(), **style)
        if both:
            axis.plot([0.03], [centre], transform=axis.get_yaxis_transform(), **style)


def _weights(axis: Any, test: Sequences, index: int, weights: np.ndarray, name: str) -> None:
    """Rows read from columns; black is the largest weight."""
    axis.imshow(weights, cmap="gray_r", vmin=0.0, vmax=weights.max(), aspect="auto")
    _mark(axis, test, index, both=True)
    axis.set(title=f"what {name} reads", xlabel="from", ylabel="at")
