"""Sequences with two triangles and two rectangles, and what they are to become.

Legend: N sequences, L samples; shapes are triangle, triangle, rectangle, rectangle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learners.toy.config import LARGEST_WIDTH, SMALLEST_WIDTH, SequencesConfig

SMALLEST_HEIGHT, LARGEST_HEIGHT = 1.0, 25.0
LEAST_DIFFERENCE = 4.0
"""Of the two heights of a pair; of the means of two pairs of places."""
DRAWN_AT_ONCE = 20_000
MOST_DRAWN = 1_000_000
TRIANGLES = np.array([True, True, False, False])


class Sequences(NamedTuple):
    inputs: NDArray[np.float32]  # (N, 1, L)
    targets: NDArray[np.float32]  # (N, 1, L), with noise of its own
    clean: NDArray[np.float32]  # (N, 1, L), the targets without
    shapes: NDArray[np.float64]  # (N, 4, 3): centre, height and width of each
    pairs: NDArray[np.int64]  # (N, 4): 0 or 1, to which pair each belongs


class TooRareError(ValueError):
    """Hardly any draw is a sequence."""


def make_sequences(config: SequencesConfig, count: int, generator: np.random.Generator) -> Sequences:
    """Draws until there are N = `count` whose shapes neither overlap nor touch, and differ in height.

    Raises: TooRareError, in one line, if of a million draws too few are kept.
    """
    found: list[NDArray[np.float64]] = []
    kept = drawn = 0
    while kept < count:
        if drawn >= MOST_DRAWN and kept < count * drawn / MOST_DRAWN / 100:
            raise TooRareError(f"found {kept} sequences in {drawn} draws, expected {count}")
        shapes = _draw(config, generator)
        found.append(shapes[_is_kept(config, shapes)])
        kept, drawn = kept + len(found[-1]), drawn + len(shapes)
    shapes = np.concatenate(found)[:count]
    pairs = pairs_of(config, shapes)
    levelled = shapes.copy()
    for pair in (0, 1):
        is_in = pairs == pair
        means = (shapes[..., 1] * is_in).sum(axis=1) / 2
        levelled[..., 1] = np.where(is_in, means[:, None], levelled[..., 1])
    clean = outlines(levelled, config.length).max(axis=1)
    inputs, targets = (
        signal + generator.uniform(-config.noise, config.noise, signal.shape)
        for signal in (outlines(shapes, config.length).max(axis=1), clean)
    )
    inputs, targets, clean = (signal[:, None].astype(np.float32) for signal in (inputs, targets, clean))
    return Sequences(inputs, targets, clean, shapes, pairs)


def outlines(shapes: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Each shape's height at each sample (N, 4, L), 0 outside.

    Of a triangle h − 2h/w · max(|t − c| − 0.5, 0), of a rectangle h where |t − c| < w/2.
    """
    centres, heights, widths = (shapes[..., each, None] for each in range(3))
    away = np.abs(np.arange(length) - centres)
    triangles = heights - 2 * heights / widths * np.maximum(away - 0.5, 0.0)
    rectangles = np.where(away < widths / 2, heights, 0.0)
    return np.where(TRIANGLES[:, None], np.maximum(triangles, 0.0), rectangles)


def pairs_of(config: SequencesConfig, shapes: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N, 4): to which pair each shape belongs, by what it is or by where it is."""
    if config.group == "shape":
        return np.broadcast_to(np.where(TRIANGLES, 0, 1), shapes.shape[:2])
    return shapes[..., 0].argsort(axis=1).argsort(axis=1) // 2


def _draw(config: SequencesConfig, generator: np.random.Generator) -> NDArray[np.float64]:
    """(N, 4, 3), with no regard to what is kept."""
    low = (LARGEST_WIDTH / 2, SMALLEST_HEIGHT, SMALLEST_WIDTH)
    high = (config.length - LARGEST_WIDTH / 2, LARGEST_HEIGHT, LARGEST_WIDTH)
    return generator.uniform(low, high, (DRAWN_AT_ONCE, 4, 3))


def _is_kept(config: SequencesConfig, shapes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,): whether no two shapes come closer than two samples, and heights differ as they should."""
    covered = outlines(shapes, config.length) > 0  # (N, 4, L)
    wider = covered.copy()
    wider[..., 1:] |= covered[..., :-1]
    wider[..., :-1] |= covered[..., 1:]
    apart = (wider.sum(axis=1) <= 1).all(axis=1)
    heights = shapes[..., 1]
    if config.group == "place":
        pairs = pairs_of(config, shapes)
        first, second = ((heights * (pairs == pair)).sum(axis=1) / 2 for pair in (0, 1))
        return apart & (np.abs(first - second) > LEAST_DIFFERENCE)
    differ = np.abs(heights[:, 0::2] - heights[:, 1::2]) > LEAST_DIFFERENCE  # (N, 2)
    return apart & differ[:, 0] & (differ[:, 1] | (not config.rectangles_differ))
