"""Pictures in `media/`: what the agent sees, what it dreams, how it plays, how it learns.

Legend: R rows, N frames, T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from learners.durable import write_durably
from learners.inspection import Film, Grid, Inspection, Panel, Picture

ENLARGE = 3
"""Screen pixels per frame pixel."""
GAP = 2
FRAMES_PER_SECOND = 15


def save_inspection(directory: Path, iteration: int, inspection: Inspection) -> None:
    """Every picture under its name: grids and charts as png, films as gif, and as png in rows."""
    for name, picture in inspection.pictures.items():
        save_picture(directory / f"{name}-{iteration:04d}.png", picture)


def save_picture(path: Path, picture: Picture) -> None:
    """As png; a film in rows, and beside it as gif."""
    if isinstance(picture, Grid):
        _save_png(path, picture.rows)
    elif isinstance(picture, Film):
        _save_png(path, picture.columns)
        moments = [_rows([np.stack(frames)]) for frames in zip(*picture.columns, strict=True)]
        _save_gif(path.with_suffix(".gif"), np.stack(moments))
    else:
        _save_panels(path, [picture.panels], height=3.4)


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
    rows = [[_curves(title, names, records) for title, names in panels.items()] for panels in (above, below)]
    _save_panels(path, rows, height=3.0)


def _curves(title: str, names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> Panel:
    """Of metrics over iterations; where nothing was measured, they are nan."""
    values = np.full((len(names), 1 + max((record["iteration"] for record in records), default=0)), np.nan)
    for record in records:
        values[:, record["iteration"]] = [record.get(name, np.nan) for name in names]
    labels = [" ".join(name.split("/")[-2:]).replace("_", " ") for name in names]
    return Panel(title, "iteration", "", dict(zip(labels, values, strict=True)))


def _save_panels(path: Path, rows: Sequence[Sequence[Panel]], height: float) -> None:
    columns = max(map(len, rows))
    figure = Figure(figsize=(4 * columns, height * len(rows)), layout="constrained")
    for axes, panels in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axis, panel in zip_longest(axes, panels):
            _draw(axis, panel) if panel else axis.set_visible(False)
    data = BytesIO()
    figure.savefig(data, dpi=110)
    write_durably(path, data.getvalue())


def _draw(axis: Any, panel: Panel) -> None:
    axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    for label, values in panel.curves.items():
        known = np.flatnonzero(~np.isnan(values))
        axis.plot(known, values[known], marker="o", markersize=3, label=label)
    if panel.points:
        across, up = panel.points
        axis.scatter(across, up, s=6, alpha=0.4)
        ends = [min(across.min(), up.min()), up.max()]
        axis.plot(ends, ends, color="black", linewidth=0.8, linestyle=":", label="both are equal")
    if panel.curves or panel.points:
        axis.legend(fontsize="small")


def _rows(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of frames, each (N, 3, 64, 64), as one picture (H, W, 3), enlarged, with gaps between them."""
    enlarged = np.stack(rows).transpose(0, 1, 3, 4, 2).repeat(ENLARGE, axis=2).repeat(ENLARGE, axis=3)
    padded = np.pad(enlarged, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)  # (R, N, H, W, 3)
    return np.vstack([np.hstack(row) for row in padded])


def _save_png(path: Path, rows: Sequence[NDArray[np.uint8]]) -> None:
    write_durably(path, imageio.imwrite("<bytes>", _rows(rows), extension=".png"))


def _save_gif(path: Path, images: NDArray[np.uint8]) -> None:
    settings: dict[str, Any] = {"duration": 1000 / FRAMES_PER_SECOND, "loop": 0}
    write_durably(path, imageio.imwrite("<bytes>", images, extension=".gif", **settings))
