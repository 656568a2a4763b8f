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

from learners.inspection import Pictures

ENLARGE = 3
"""Screen pixels per frame pixel."""
GAP = 2
FRAMES_PER_SECOND = 15


def save_pictures(directory: Path, iteration: int, pictures: Pictures) -> None:
    """Reconstructions (png) and an imagined rollout beside the real one (png and gif).

    In both the upper row, or the left half, is what happened and the lower row, or the right half, the world model's.
    """
    suffix = f"{iteration:04d}"
    imageio.imwrite(directory / f"reconstructions-{suffix}.png", _rows([pictures.originals, pictures.reconstructions]))
    imageio.imwrite(directory / f"imagination-{suffix}.png", _rows([pictures.real, pictures.imagined]))
    side_by_side = np.stack([_rows([np.stack(pair)]) for pair in zip(pictures.real, pictures.imagined, strict=True)])
    _save_gif(directory / f"imagination-{suffix}.gif", side_by_side)


def save_episode(directory: Path, iteration: int, frames: NDArray[np.uint8]) -> None:
    """An evaluation episode as gif; frames (T, 3, 64, 64)."""
    _save_gif(directory / f"episode-{iteration:04d}.gif", np.stack([_rows([frame[None]]) for frame in frames]))


def save_curves(path: Path, records: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> None:
    """One panel per part with its loss, one with the returns of collection and evaluation; x is the iteration."""
    figure, axes = plt.subplots(1, len(parts) + 1, figsize=(4 * (len(parts) + 1), 3), layout="constrained")
    for axis, part in zip(axes, parts, strict=False):
        _plot(axis, records, [f"{part}/loss"])
        axis.set_title(f"{part.replace('_', ' ')}: loss")
    _plot(axes[-1], records, ["collection/return_mean", "evaluation/score_mean"], marker="o")
    axes[-1].set_title("return per episode")
    axes[-1].legend(["collection", "evaluation"])
    for axis in axes:
        axis.set_xlabel("iteration")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot(axis: Any, records: Sequence[Mapping[str, Any]], names: Sequence[str], marker: str = "") -> None:
    for name in names:
        points = [(record["iteration"], record[name]) for record in records if name in record]
        axis.plot(*zip(*points, strict=True) if points else ([], []), marker=marker, markersize=3)


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
