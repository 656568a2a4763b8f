"""Pictures in `media/`: what the agent sees, what it dreams, how it plays, how it learns.

Legend: N frames, T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import matplotlib

matplotlib.use("Agg")  # no display is needed

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from learners.calibration import Calibration
from learners.dream_error import DreamError
from learners.inspection import Inspection

ENLARGE = 3
"""Screen pixels per frame pixel."""
GAP = 2
FRAMES_PER_SECOND = 15


def save_inspection(directory: Path, iteration: int, inspection: Inspection) -> None:
    """Reconstructions (png), an imagined rollout beside the real one (png and gif), and measurements (png).

    In the first two the upper row, or the left half, is what happened and the lower row, or the right half, the world
    model's.
    """
    pictures, suffix = inspection.pictures, f"{iteration:04d}"
    imageio.imwrite(directory / f"reconstructions-{suffix}.png", _rows([pictures.originals, pictures.reconstructions]))
    imageio.imwrite(directory / f"imagination-{suffix}.png", _rows([pictures.real, pictures.imagined]))
    side_by_side = np.stack([_rows([np.stack(pair)]) for pair in zip(pictures.real, pictures.imagined, strict=True)])
    _save_gif(directory / f"imagination-{suffix}.gif", side_by_side)
    _save_measurements(directory / f"measurements-{suffix}.png", inspection.dreams, inspection.calibration)


def save_episode(directory: Path, iteration: int, frames: NDArray[np.uint8]) -> None:
    """An evaluation episode as gif; frames (T, 3, 64, 64)."""
    _save_gif(directory / f"episode-{iteration:04d}.gif", np.stack([_rows([frame[None]]) for frame in frames]))


def save_curves(path: Path, records: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> None:
    """Above, a panel per part with its loss, and one with returns; below, how the parts do on steps not trained on."""
    columns = len(parts) + 1
    figure, axes = plt.subplots(2, columns, figsize=(4 * columns, 6), layout="constrained", squeeze=False)
    for axis, part in zip(axes[0], parts, strict=False):
        _plot(axis, records, [f"{part}/loss"])
        axis.set_title(f"{part.replace('_', ' ')}: loss")
    _plot(axes[0, -1], records, ["collection/return_mean", "evaluation/score_mean"])
    axes[0, -1].set_title("return per episode")
    known = sorted({name for record in records for name in record}, key=lambda name: (len(name), name))  # 5 before 10
    for axis, part in zip(axes[1], parts[:-1], strict=False):  # the last one is the policy
        ending = ("_error", "_accuracy")
        _plot(axis, records, [name for name in known if name.startswith(f"held_out/{part}/") and name.endswith(ending)])
        axis.set_title(f"{part.replace('_', ' ')}: on new steps")
    axes[1, -2].set_title("dream: pixel error by depth")
    _plot(axes[1, -2], records, [name for name in known if name.startswith("dream/pixel_error_")])
    _plot(axes[1, -1], records, ["value/predicted_mean", "value/realised_mean"])
    axes[1, -1].set_title("value: predicted and realised")
    for axis in axes.flat:
        axis.set_xlabel("iteration")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _save_measurements(path: Path, dreams: DreamError | None, calibration: Calibration | None) -> None:
    """Left, the dream's error by depth, beside that of a frame that stands still; right, values against returns."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    left.set(title="dream and reality, same actions", xlabel="imagined steps", ylabel="mean pixel error")
    if dreams:
        left.plot(dreams.imagined, marker="o", markersize=3, label="dream")
        left.plot(dreams.still, linestyle="--", label="start frame, standing still")
        left.legend(fontsize="small")
    right.set(title="values of real episodes", xlabel="predicted value", ylabel="realised return")
    if calibration:
        right.scatter(calibration.values, calibration.returns, s=6, alpha=0.4)
        ends = [min(calibration.values.min(), calibration.returns.min()), calibration.returns.max()]
        right.plot(ends, ends, color="black", linewidth=0.8, linestyle=":", label="calibrated")
        right.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot(axis: Any, records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for name in names:
        points = [(record["iteration"], record[name]) for record in records if name in record]
        label = " ".join(name.split("/")[-2:]).replace("_", " ") if len(names) > 1 else None
        axis.plot(*zip(*points, strict=True) if points else ([], []), marker="o", markersize=2, label=label)
    if len(names) > 1:
        axis.legend(fontsize="x-small")


def _rows(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of frames, each (N, 3, 64, 64), as one picture (H, W, 3), enlarged, with gaps between them."""
    padding = ((0, 0), (0, GAP), (0, GAP), (0, 0))
    lines = []
    for frames in rows:
        enlarged = frames.transpose(0, 2, 3, 1).repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)  # (N, H, W, 3)
        lines.append(np.concatenate(np.pad(enlarged, padding, constant_values=255), axis=1))
    return np.concatenate(lines)


def _save_gif(path: Path, images: NDArray[np.uint8]) -> None:
    imageio.imwrite(path, images, extension=".gif", duration=1000 / FRAMES_PER_SECOND, loop=0)
