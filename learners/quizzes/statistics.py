"""What quizzes that were made up are like, beside those of the world.

Legend: N quizzes, H cells per side, G grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.quizzes.config import Task
from learners.quizzes.tasks import Grid, Grids, Quizzes, apply, explain

COMPARED_AT_ONCE = 64


def explaining_tasks(tasks: Sequence[Task], a: Grid, fa: Grid, b: Grid, fb: Grid) -> list[Task]:
    """Those with a rule that makes f(a) of a and f(b) of b."""
    return [
        task
        for task in tasks
        if any((made := apply(task, rule, b)) is not None and (made == fb).all() for rule in explain(task, a, fa))
    ]


def describe(quizzes: Quizzes, tasks: Sequence[Task], world: Quizzes) -> dict[str, Any]:
    """Numbers about N ≥ 1 quizzes, some of them beside those of quizzes of the world.

    Returns:
        novelty: share that no task of the world explains.
        explained/…: number by task; one that several explain counts for each.
        entropy: of that distribution over tasks, in nats.
        colours, components, irregular: mean of a grid (`of_grids`); *_world: of the world's quizzes.
        distance: mean number of cells in which a quiz differs from the nearest one of the world.
    """
    found = [explaining_tasks(tasks, *quiz) for quiz in zip(*quizzes, strict=True)]
    explained = {task: sum(task in each for each in found) for task in tasks}
    shares = np.array([number for number in explained.values() if number], np.float64)
    shares /= max(1.0, shares.sum())
    ours, theirs = (of_grids(np.concatenate(each)) for each in (quizzes, world))
    return {
        "novelty": sum(not each for each in found) / len(found),
        **{f"explained/{task}": number for task, number in explained.items()},
        "entropy": float(-(shares * np.log(shares)).sum()),
        **ours,
        **{f"{name}_world": value for name, value in theirs.items()},
        "distance": float(nearest(quizzes, world).mean()),
    }


def of_grids(grids: Grids) -> dict[str, float]:
    """Means over grids (G, H, H): colours besides white; connected components of one colour, cells being neighbours
    along rows and columns; and how many of these are no rectangles."""
    labels = _components(grids)
    colours = sum((grids == colour).any(axis=(1, 2)).astype(np.int64) for colour in range(1, int(grids.max()) + 1))
    components = irregular = 0
    for grid_labels in labels:
        for label in np.unique(grid_labels[grid_labels >= 0]):
            rows, columns = np.nonzero(grid_labels == label)
            components += 1
            irregular += len(rows) != (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    count = len(grids)
    return {"colours": float(np.mean(colours)), "components": components / count, "irregular": irregular / count}


def nearest(quizzes: Quizzes, world: Quizzes) -> NDArray[np.int64]:
    """(N,): cells of all four grids in which each differs from the quiz of the world that it is most like."""
    ours, theirs = (np.stack(each, axis=1).reshape(len(each.a), -1) for each in (quizzes, world))
    parts = [
        (ours[first : first + COMPARED_AT_ONCE, None] != theirs).sum(axis=2).min(axis=1)
        for first in range(0, len(ours), COMPARED_AT_ONCE)
    ]
    return np.concatenate(parts)


def _components(grids: Grids) -> NDArray[np.int64]:
    """(G, H, H): the smallest index of a cell in the same component; -1 where it is white."""
    cells = np.arange(grids[0].size).reshape(grids[0].shape)
    labels = np.broadcast_to(cells, grids.shape).copy()
    labels[grids == 0] = -1
    while True:
        before = labels.copy()
        for axis in (1, 2):
            first = [slice(None)] * 3
            second = [slice(None)] * 3
            first[axis], second[axis] = slice(None, -1), slice(1, None)
            one, other = tuple(first), tuple(second)
            alike = grids[one] == grids[other]
            for mine, neighbours in ((one, other), (other, one)):
                labels[mine] = np.where(alike, np.minimum(labels[mine], labels[neighbours]), labels[mine])
        if (labels == before).all():
            return labels
