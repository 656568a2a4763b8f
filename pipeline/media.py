"""Pictures in `media/`: what the agent sees, what it dreams, how it plays, how it learns.

Legend: N frames, T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import matplotlib

matplotlib.use("Agg")  # no display is needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from learners.durable import write_durably
from learners.inspection import Chart, Film, Grid, Inspection, Panel

ENLARGE = 3
"""Screen pixels per frame pixel."""
GAP = 2
FRAMES_PER_SECOND = 15


def save_inspection(directory: Path, iteration: int, inspection: Inspection) -> None:
    """Every picture under its name: grids and charts as png, films as gif, and as png in rows."""
    for name, picture in inspection.pictures.items():
        path = directory / f"{name}-{iteration:04d}.png"
        if isinstance(picture, Grid):
            _save_png(path, picture.rows)
        elif isinstance(picture, Film):
            _save_png(path, picture.columns)
            moments = [_rows([np.stack(frames)]) for frames in zip(*picture.columns, strict=True)]
            _save_gif(path.with_suffix(".gif"), np.stack(moments))
        else:
            _save_chart(path, picture)


def save_episode(directory: Path, iteration: int, frames: NDArray[np.uint8]) -> None:
    """An evaluation episode as gif; frames (T, 3, 64, 64)."""
    _save_gif(directory / f"episode-{iteration:04d}.gif", np.stack([_rows([frame[None]]) for frame in frames]))


def save_curves(path: Path, records: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> None:
    """Above, a panel per part with its loss, and one with returns; below, what was measured on steps not trained on."""
    known = sorted({name for record in records for name in record}, key=lambda name: (len(name), name))  # 5 before 10
    losses = {f"{part.replace('_', ' ')}: loss": [f"{part}/loss"] for part in parts}
    above = {**losses, "return per episode": ["collection/return_mean", "evaluation/score_mean"]}
    below: dict[str, list[str]] = {}
    for name in known:
        group, _, rest = name.removeprefix("held_out/").partition("/")
        if name.startswith("held_out/") and rest.endswith(("_error", "_accuracy")):
            below.setdefault(f"{group.replace('_', ' ')}: on new steps", []).append(name)
        elif group not in (*parts, "collection", "evaluation", "held_out") and rest:
            below.setdefault(group, []).append(name)
    columns = max(len(above), len(below))
    figure, axes = plt.subplots(2, columns, figsize=(4 * columns, 6), layout="constrained", squeeze=False)
    for row, panels in zip(axes, (above, below), strict=True):
        for axis in row[len(panels) :]:
            axis.set_visible(False)
        for axis, (title, names) in zip(row, panels.items(), strict=False):
            _plot(axis, records, names)
            axis.set(title=title, xlabel="iteration")
    _save_figure(path, figure)


def _save_chart(path: Path, chart: Chart) -> None:
    count = len(chart.panels)
    figure, axes = plt.subplots(1, count, figsize=(4 * count, 3.4), layout="constrained", squeeze=False)
    for axis, panel in zip(axes[0], chart.panels, strict=True):
        _draw(axis, panel)
    _save_figure(path, figure)


def _draw(axis: Any, panel: Panel) -> None:
    axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    for label, values in panel.curves.items():
        axis.plot(values, marker="o", markersize=3, label=label)
    if panel.points:
        across, up = panel.points
        axis.scatter(across, up, s=6, alpha=0.4)
        ends = [min(across.min(), up.min()), up.max()]
        axis.plot(ends, ends, color="black", linewidth=0.8, linestyle=":", label="both are equal")
    if panel.curves or panel.points:
        axis.legend(fontsize="small")


def _plot(axis: Any, records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for name in names:
        points = [(record["iteration"], record[name]) for record in records if name in record]
        label = " ".join(name.split("/")[-2:]).replace("_", " ")
        axis.plot(*zip(*points, strict=True) if points else ([], []), marker="o", markersize=2, label=label)
    if names:
        axis.legend(fontsize="x-small")


def _rows(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of frames, each (N, 3, 64, 64), as one picture (H, W, 3), enlarged, with gaps between them."""
    padding = ((0, 0), (0, GAP), (0, GAP), (0, 0))
    lines = []
    for frames in rows:
        enlarged = frames.transpose(0, 2, 3, 1).repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)  # (N, H, W, 3)
        lines.append(np.concatenate(np.pad(enlarged, padding, constant_values=255), axis=1))
    return np.concatenate(lines)


def _save_png(path: Path, rows: Sequence[NDArray[np.uint8]]) -> None:
    write_durably(path, imageio.imwrite("<bytes>", _rows(rows), extension=".png"))


def _save_gif(path: Path, images: NDArray[np.uint8]) -> None:
    settings: dict[str, Any] = {"duration": 1000 / FRAMES_PER_SECOND, "loop": 0}
    write_durably(path, imageio.imwrite("<bytes>", images, extension=".gif", **settings))


def _save_figure(path: Path, figure: Figure) -> None:
    data = BytesIO()
    figure.savefig(data, dpi=110)
    plt.close(figure)
    write_durably(path, data.getvalue())
