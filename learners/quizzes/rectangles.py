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
    found = np.zeros((count, config.rectangles, 4), np.int64)
    missing = np.arange(count)
    for _ in range(MOST_ROUNDS):
        if not len(missing):
            return found
        drawn = _disjoint(config, len(missing), generator)
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


def _disjoint(config: GridConfig, count: int, generator: np.random.Generator) -> Rectangles:
    """(count, R, 4), pairwise without a common cell."""
    kept: list[Rectangles] = []
    number = 0
    for _ in range(MOST_ROUNDS):
        if number >= count:
            return np.concatenate(kept)[:count]
        size = max(DRAWN_AT_ONCE, 2 * (count - number))
        drawn = _single(config, size * config.rectangles, generator).reshape(size, config.rectangles, 4)
        apart = np.ones(size, np.bool_)
        for one in range(config.rectangles):
            for other in range(one):
                a, b = drawn[:, one], drawn[:, other]
                meet = (a[:, 0] < b[:, 1]) & (b[:, 0] < a[:, 1]) & (a[:, 2] < b[:, 3]) & (b[:, 2] < a[:, 3])
                apart &= ~meet
        kept.append(drawn[apart])
        number += len(kept[-1])
        if not number and sum(map(len, kept)) == 0 and len(kept) > 10:
            break
    words = f"{config.rectangles} rectangles of {config.least_area} cells or more"
    raise NoRoomError(
        f"found hardly any draw of {words} in {config.size} × {config.size} cells, expected one in 10 000"
    )


def _single(config: GridConfig, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """(count, 4): uniform over all rectangles that there are."""
    all_of_them = _every(config)
    if not len(all_of_them):
        raise NoRoomError(f"found no rectangle of {config.least_area} to {config.most_area} cells, expected some")
    return all_of_them[generator.integers(len(all_of_them), size=count)]


def _every(config: GridConfig) -> NDArray[np.int64]:
    """(M, 4): every rectangle that a grid may have."""
    starts, ends = np.triu_indices(config.edge + 1, k=config.least_side)
    sides = np.stack([starts, ends], axis=1)  # (S, 2)
    pairs = np.stack(np.meshgrid(np.arange(len(sides)), np.arange(len(sides)), indexing="ij"), axis=-1).reshape(-1, 2)
    every = np.concatenate([sides[pairs[:, 0]], sides[pairs[:, 1]]], axis=1)
    areas = (every[:, 1] - every[:, 0]) * (every[:, 3] - every[:, 2])
    return every[(areas >= config.least_area) & (areas <= config.most_area)]
