"""Rectangles without a common cell, drawn uniformly.

Legend: N grids, R rectangles; one is (top, bottom, left, right), bottom and right not included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from learners.quizzes.config import GridConfig

DRAWN_AT_ONCE = 4_096
MOST_ROUNDS = 10_000
LEAST_ACCEPTANCE = 1e-4
"""Of draws, that must fit for a grid to have room."""
Rectangles = NDArray[np.int64]
"""(N, R, 4)."""


class NoRoomError(ValueError):
    """Hardly any draw fits."""


def draw(
    config: GridConfig,
    count: int,
    generator: np.random.Generator,
    fits: Callable[[Rectangles, NDArray[np.int64]], NDArray[np.bool_]] = lambda drawn, which: np.ones(
        len(drawn), np.bool_
    ),
) -> Rectangles:
    """(N, R, 4) for N = `count` grids; those of each grid are drawn anew until they fit it.

    Args:
        fits: of rectangles (M, R, 4) and the indices (M,) of the grids that they are for; True (M,) where they do.

    Raises: NoRoomError, in one line, if of very many draws some still fit nowhere.
    """
    found, every = np.zeros((count, config.rectangles, 4), np.int64), _every(config)
    missing = np.arange(count)
    for _ in range(MOST_ROUNDS):
        if not len(missing):
            return found
        drawn = _disjoint(config, every, len(missing), generator)
        good = fits(drawn, missing)
        found[missing[good]] = drawn[good]
        missing = missing[~good]
    raise NoRoomError(f"found no {config.rectangles} rectangles for {len(missing)} of {count} grids, expected some")


def masks(rectangles: Rectangles, size: int) -> NDArray[np.bool_]:
    """(N, R, size, size): the cells of each."""
    places = np.arange(size)
    top, bottom, left, right = (rectangles[..., each, None] for each in range(4))
    rows, columns = (top <= places) & (places < bottom), (left <= places) & (places < right)
    return rows[..., :, None] & columns[..., None, :]


def check_room(config: GridConfig, draws: int = 1_000_000) -> None:
    """Raises NoRoomError, in one line, if of so many draws, always the same, too few have no common cell."""
    generator, fitting, every = np.random.default_rng(0), 0, _every(config)
    for _ in range(0, draws, size := 50_000):
        fitting += int(_are_apart(_single(config, every, size, generator)).sum())
    if fitting < LEAST_ACCEPTANCE * draws:
        words = f"{config.rectangles} rectangles of {config.least_area} cells or more in {config.size} × {config.size}"
        raise NoRoomError(f"found {fitting / draws:.1g} of all draws of {words} to fit, expected {LEAST_ACCEPTANCE:g}")


def _disjoint(config: GridConfig, every: NDArray[np.int64], count: int, generator: np.random.Generator) -> Rectangles:
    """(count, R, 4), pairwise without a common cell."""
    kept: list[Rectangles] = []
    number = 0
    for attempt in range(MOST_ROUNDS):
        if number >= count:
            return np.concatenate(kept)[:count]
        if not number and attempt == MOST_ROUNDS // 10:
            break
        drawn = _single(config, every, max(DRAWN_AT_ONCE, 2 * (count - number)), generator)
        kept.append(drawn[_are_apart(drawn)])
        number += len(kept[-1])
    raise NoRoomError(f"found {number} draws of {config.rectangles} rectangles that fit, expected {count}")


def _are_apart(rectangles: Rectangles) -> NDArray[np.bool_]:
    """(N,) of (N, R, 4): whether no two have a common cell."""
    apart = np.ones(len(rectangles), np.bool_)
    for one in range(rectangles.shape[1]):
        for other in range(one):
            a, b = rectangles[:, one], rectangles[:, other]
            apart &= ~((a[:, 0] < b[:, 1]) & (b[:, 0] < a[:, 1]) & (a[:, 2] < b[:, 3]) & (b[:, 2] < a[:, 3]))
    return apart


def _single(config: GridConfig, every: NDArray[np.int64], count: int, generator: np.random.Generator) -> Rectangles:
    """(count, R, 4): each uniform over all that there are."""
    return every[generator.integers(len(every), size=(count, config.rectangles))]


def _every(config: GridConfig) -> NDArray[np.int64]:
    """(M, 4): every rectangle that a grid may have. Raises NoRoomError if there is none."""
    starts, ends = np.triu_indices(config.edge + 1, k=config.least_side)
    sides = np.stack([starts, ends], axis=1)  # (S, 2)
    pairs = np.stack(np.meshgrid(np.arange(len(sides)), np.arange(len(sides)), indexing="ij"), axis=-1).reshape(-1, 2)
    every = np.concatenate([sides[pairs[:, 0]], sides[pairs[:, 1]]], axis=1)
    areas = (every[:, 1] - every[:, 0]) * (every[:, 3] - every[:, 2])
    found = every[(areas >= config.least_area) & (areas <= config.most_area)]
    if not len(found):
        raise NoRoomError(f"found no rectangle of {config.least_area} to {config.most_area} cells, expected some")
    return found
