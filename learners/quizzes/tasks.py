"""The tasks of the world: a grid, what a rule makes of it, another grid, what the same rule makes of that.

Every quiz has one solution: what can be seen of A and f(A) says which rule of its task it is. `explain` finds all rules
of a task that lead from a grid to another, `apply` does what one says.

Legend: N quizzes, R rectangles, H cells per side; grids are (N, H, H) uint8, colour 0 is white.
Source: Fleuret, culture.git, as far as its code and talk tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learners.quizzes.config import GridConfig, Task, WorldConfig
from learners.quizzes.rectangles import NoRoomError, Rectangles, draw, masks

Grid = NDArray[np.uint8]
"""(H, H)."""
Grids = NDArray[np.uint8]
"""(N, H, H)."""
Colours = NDArray[np.uint8]
"""(N, C)."""
Rule = tuple[Any, ...]
STEPS = tuple((i, j) for i, j in product((-1, 0, 1), repeat=2) if (i, j) != (0, 0))
DIRECTIONS = ("down", "up", "right", "left")
MOST_ROUNDS = 1_000
FARTHEST = 3
"""Cells of a motion's step, along either axis."""


class Quizzes(NamedTuple):
    """N quizzes: a, fa = f(a), b, fb = f(b)."""

    a: Grids
    fa: Grids
    b: Grids
    fb: Grids


def make(config: WorldConfig, task: Task, count: int, generator: np.random.Generator) -> Quizzes:
    """N = `count` quizzes of a task, none in which f(a) = a, f(b) = b or a = b. Raises NoRoomError."""
    nothing = np.zeros((0, config.grid.size, config.grid.size), np.uint8)
    kept, number = [Quizzes(nothing, nothing, nothing, nothing)], 0
    for _ in range(MOST_ROUNDS):
        if number >= count:
            return Quizzes(*(np.concatenate(grids) for grids in zip(*kept, strict=True)))
        made = _MAKERS[task](config.grid, count - number, generator)
        good = ~are_trivial(made)
        kept.append(Quizzes(*(grids[good] for grids in made)))
        number += int(good.sum())
    raise NoRoomError(f"found no quizzes of {task} that ask something, expected some")


def are_trivial(quizzes: Quizzes) -> NDArray[np.bool_]:
    """(N,): where f(a) = a, f(b) = b or a = b."""
    a, fa, b, fb = quizzes
    same = [(one == other).all(axis=(1, 2)) for one, other in ((a, fa), (b, fb), (a, b))]
    return same[0] | same[1] | same[2]


def explain(task: Task, a: Grid, fa: Grid) -> list[Rule]:
    """All rules of a task that make fa of a."""
    return [rule for rule in _rules(task, a, fa) if (found := apply(task, rule, a)) is not None and (found == fa).all()]


def apply(task: Task, rule: Rule, grid: Grid) -> Grid | None:
    """What a rule makes of a grid; None where it says nothing of it."""
    return _APPLIERS[task](grid, *rule)


def _colours(config: GridConfig, number: int, count: int, generator: np.random.Generator) -> Colours:
    """(N, number): distinct ones of each quiz, none white."""
    order = generator.random((count, config.colours)).argsort(axis=1)[:, :number]
    return (1 + order).astype(np.uint8)


def _paint(cells: NDArray[np.bool_], colours: Colours, below: Grids | None = None) -> Grids:
    """Sets of cells (N, R, H, H) over each other, later ones on top, in colours (N, R)."""
    grids = np.zeros((len(cells), *cells.shape[2:]), np.uint8) if below is None else below.copy()
    for index in range(cells.shape[1]):
        grids = np.where(cells[:, index], colours[:, index, None, None], grids)
    return grids


def _replace_color(config: GridConfig, count: int, generator: np.random.Generator) -> Quizzes:
    """The first rectangle takes another colour."""
    colours = _colours(config, config.rectangles + 1, count, generator)

    def pair() -> tuple[Grids, Grids]:
        cells = masks(draw(config, count, generator), config.size)
        shown, changed = colours[:, :-1], colours[:, :-1].copy()
        changed[:, 0] = colours[:, -1]
        return _paint(cells, shown), _paint(cells, changed)

    return Quizzes(*pair(), *pair())


def _frame(config: GridConfig, count: int, generator: np.random.Generator) -> Quizzes:
    """The last rectangle keeps its border, one cell wide."""
    colours = _colours(config, config.rectangles, count, generator)

    def pair() -> tuple[Grids, Grids]:
        drawn = draw(config, count, generator, lambda found, _: _sides(found)[:, -1].min(axis=1) >= 3)
        cells = masks(drawn, config.size)
        framed = cells.copy()
        framed[:, -1] &= ~masks(_shrunk(drawn[:, -1:]), config.size)[:, 0]
        return _paint(cells, colours), _paint(framed, colours)

    return Quizzes(*pair(), *pair())


def _detect(config: GridConfig, count: int, generator: np.random.Generator) -> Quizzes:
    """White, but for the top left cells of all rectangles but the last, in another colour."""
    colours = _colours(config, config.rectangles + 1, count, generator)

    def pair() -> tuple[Grids, Grids]:
        drawn = draw(config, count, generator)
        corners = drawn[:, :-1].copy()
        corners[..., 1], corners[..., 3] = corners[..., 0] + 1, corners[..., 2] + 1
        marks = np.repeat(colours[:, -1:], config.rectangles - 1, axis=1)
        return _paint(masks(drawn, config.size), colours[:, :-1]), _paint(masks(corners, config.size), marks)

    return Quizzes(*pair(), *pair())


def _half_fill(config: GridConfig, count: int, generator: np.random.Generator) -> Quizzes:
    """Every rectangle has a line of another colour through its middle; of the last, all from the line to its edge in
    one direction takes that colour."""
    colours = _colours(config, 2 * config.rectangles, count, generator)
    direction = generator.integers(len(DIRECTIONS), size=count)

    def pair() -> tuple[Grids, Grids]:
        across = lambda found, which: np.where(direction[which] < 2, *_sides(found).min(axis=1).T) >= 3  # noqa: E731
        drawn = draw(config, count, generator, across)
        lines = _lines(drawn, direction[:, None])
        half = _to_the_edge(drawn[:, -1], lines[:, -1], direction)[:, None]
        shown = _paint(masks(lines, config.size), colours[:, 1::2], _paint(masks(drawn, config.size), colours[:, ::2]))
        return shown, _paint(masks(half, config.size), colours[:, -1:], shown)

    return Quizzes(*pair(), *pair())


def _translate(config: GridConfig, count: int, generator: np.random.Generator) -> Quizzes:
    """The last rectangle moves by a cell, aslant perhaps, and lies on top."""
    colours = _colours(config, config.rectangles, count, generator)
    step = np.array(STEPS)[generator.integers(len(STEPS), size=count)]  # (N, 2)

    def pair() -> tuple[Grids, Grids]:
        stays = lambda found, which: _is_inside(_moved(found[:, -1], step[which]), config.edge)  # noqa: E731
        drawn = draw(config, count, generator, stays)
        moved = drawn.copy()
        moved[:, -1] = _moved(drawn[:, -1], step)
        return _paint(masks(drawn, config.size), colours), _paint(masks(moved, config.size), colours)

    return Quizzes(*pair(), *pair())


def _grow(config: GridConfig, count: int, generator: np.random.Generator) -> Quizzes:
    """The last rectangle is a cell larger on every side, or smaller; which of both, a coin says for the quiz."""
    colours = _colours(config, config.rectangles, count, generator)
    shrinks = generator.random(count) < 0.5

    def pair() -> tuple[Grids, Grids]:
        drawn = draw(config, count, generator, lambda found, _: _sides(found)[:, -1].min(axis=1) >= 4)
        smaller = drawn.copy()
        smaller[:, -1:] = _shrunk(drawn[:, -1:])
        whole, small = (_paint(masks(each, config.size), colours) for each in (drawn, smaller))
        chosen = shrinks[:, None, None]
        return np.where(chosen, whole, small), np.where(chosen, small, whole)

    return Quizzes(*pair(), *pair())


def _motion(config: GridConfig, count: int, generator: np.random.Generator) -> Quizzes:
    """Two cells, and the further ones of their line in steps as from the first to the second, drawn anew for b."""
    colours = _colours(config, 2, count, generator)
    steps = np.array([s for s in product(range(-FARTHEST, FARTHEST + 1), repeat=2) if s != (0, 0)])
    rows = np.arange(count)

    def pair() -> tuple[Grids, Grids]:
        step = steps[generator.integers(len(steps), size=count)]
        place = generator.integers(config.edge, size=(count, 2))
        while not (fits := _is_on(place + 2 * step, config.edge)).all():
            step[~fits] = steps[generator.integers(len(steps), size=(~fits).sum())]
            place[~fits] = generator.integers(config.edge, size=((~fits).sum(), 2))
        shown = np.zeros((count, config.size, config.size), np.uint8)
        shown[rows, *place.T] = colours[:, 0]
        shown[rows, *(place + step).T] = colours[:, 1]
        later = shown.copy()
        for number in range(2, config.size):
            there = place + number * step
            on = _is_on(there, config.size)
            later[rows[on], *there[on].T] = colours[on, 1]
        return shown, later

    return Quizzes(*pair(), *pair())


def _sides(rectangles: Rectangles) -> NDArray[np.int64]:
    """(N, R, 2): height and width."""
    return rectangles[..., 1::2] - rectangles[..., ::2]


def _shrunk(rectangles: Rectangles) -> Rectangles:
    """By a cell on every side."""
    return rectangles + np.array([1, -1, 1, -1])


def _moved(rectangles: NDArray[np.int64], step: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 4) by (N, 2): down and right."""
    return rectangles + np.repeat(step, 2, axis=1)


def _is_inside(rectangles: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    return (rectangles.min(axis=1) >= 0) & (rectangles.max(axis=1) <= size)


def _is_on(places: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    return np.asarray(((places >= 0) & (places < size)).all(axis=1))


def _lines(rectangles: Rectangles, direction: NDArray[np.int64]) -> Rectangles:
    """Through the middle of each (N, R, 4), across a direction (N, 1): row ⌊(top + bottom) / 2⌋ for down,
    ⌊(top + bottom − 1) / 2⌋ for up, columns likewise for right and left."""
    top, bottom, left, right = np.moveaxis(rectangles, -1, 0)
    row = (top + bottom - (direction == 1)) // 2
    column = (left + right - (direction == 3)) // 2
    lies = direction < 2
    lines = (np.where(lies, row, top), np.where(lies, row + 1, bottom))
    lines += (np.where(lies, left, column), np.where(lies, right, column + 1))
    return np.stack(lines, axis=-1)


def _to_the_edge(
    rectangles: NDArray[np.int64], lines: NDArray[np.int64], direction: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(N, 4): from the line to the rectangle's edge in a direction (N,)."""
    found = lines.copy()
    for number, side in enumerate((1, 0, 3, 2)):  # bottom, top, right, left
        chosen = direction == number
        found[chosen, side] = rectangles[chosen, side]
    return found


_MAKERS: dict[Task, Callable[[GridConfig, int, np.random.Generator], Quizzes]] = {
    "replace_color": _replace_color,
    "frame": _frame,
    "detect": _detect,
    "half_fill": _half_fill,
    "translate": _translate,
    "grow": _grow,
    "motion": _motion,
}


def _box(grid: Grid, *colours: int) -> tuple[int, int, int, int] | None:
    """Of all cells of these colours; None if there is none."""
    rows, columns = np.nonzero(np.isin(grid, colours))
    if not len(rows):
        return None
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def _apply_replace_color(grid: Grid, before: int, after: int) -> Grid | None:
    return np.where(grid == before, np.uint8(after), grid) if (grid == before).any() else None


def _apply_frame(grid: Grid, colour: int) -> Grid | None:
    if (box := _box(grid, colour)) is None:
        return None
    top, bottom, left, right = box
    framed = grid.copy()
    framed[top + 1 : bottom - 1, left + 1 : right - 1] = 0
    return framed


def _apply_detect(grid: Grid, colours: tuple[int, ...], mark: int) -> Grid | None:
    marked = np.zeros_like(grid)
    for colour in colours:
        if (box := _box(grid, colour)) is None:
            return None
        marked[box[0], box[2]] = mark
    return marked


def _apply_half_fill(grid: Grid, colour: int, line: int, direction: int) -> Grid | None:
    box, middle = _box(grid, colour, line), _box(grid, line)
    if box is None or middle is None or not (grid == colour).any():
        return None
    is_one = np.isin(grid[box[0] : box[1], box[2] : box[3]], (colour, line)).all()
    along = (2, 3) if direction < 2 else (0, 1)  # the line reaches across
    if not is_one or any(middle[side] != box[side] for side in along):
        return None
    half = list(middle)
    side = (1, 0, 3, 2)[direction]
    half[side] = box[side]
    filled = grid.copy()
    filled[half[0] : half[1], half[2] : half[3]] = line
    return filled


def _apply_translate(grid: Grid, colour: int, down: int, right: int) -> Grid | None:
    if (box := _box(grid, colour)) is None:
        return None
    moved = [box[0] + down, box[1] + down, box[2] + right, box[3] + right]
    if min(moved) < 0 or max(moved) > len(grid):
        return None
    found = np.where(grid == colour, np.uint8(0), grid)
    found[moved[0] : moved[1], moved[2] : moved[3]] = colour
    return found


def _apply_grow(grid: Grid, colour: int, by: int) -> Grid | None:
    if (box := _box(grid, colour)) is None:
        return None
    top, bottom, left, right = box[0] - by, box[1] + by, box[2] - by, box[3] + by
    if min(top, left) < 0 or max(bottom, right) > len(grid) or top >= bottom or left >= right:
        return None
    found = np.where(grid == colour, np.uint8(0), grid)
    found[top:bottom, left:right] = colour
    return found


def _apply_motion(grid: Grid, first: int, second: int) -> Grid | None:
    starts, nexts = np.argwhere(grid == first), np.argwhere(grid == second)
    if len(starts) != 1 or len(nexts) != 1:
        return None
    found, step, place = grid.copy(), nexts[0] - starts[0], nexts[0]
    while (place >= 0).all() and (place < len(grid)).all():
        found[tuple(place)] = second
        place = place + step
    return found


_APPLIERS: dict[Task, Callable[..., Grid | None]] = {
    "replace_color": _apply_replace_color,
    "frame": _apply_frame,
    "detect": _apply_detect,
    "half_fill": _apply_half_fill,
    "translate": _apply_translate,
    "grow": _apply_grow,
    "motion": _apply_motion,
}


def _rules(task: Task, a: Grid, fa: Grid) -> Iterator[Rule]:
    """Those of a task that speak of what is in two grids."""
    here = [int(colour) for colour in np.unique(a) if colour]
    there = [int(colour) for colour in np.unique(fa) if colour]
    if task == "replace_color":
        yield from product(here, (colour for colour in there if colour not in here))
    elif task == "frame":
        yield from ((colour,) for colour in here)
    elif task == "detect":
        yield from product(combinations(here, max(1, len(here) - 1)), there)
    elif task == "half_fill":
        yield from ((*pair, direction) for pair in product(here, here) if pair[0] != pair[1] for direction in range(4))
    elif task == "translate":
        yield from ((colour, *step) for colour in here for step in STEPS)
    elif task == "grow":
        yield from product(here, (1, -1))
    else:
        yield from ((one, other) for one in here for other in here if one != other)
