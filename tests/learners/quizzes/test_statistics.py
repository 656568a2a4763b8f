"""What is told of quizzes: what explains them, what is on their grids, how near they are to the world's."""

from __future__ import annotations

import numpy as np
import pytest

from learners.quizzes.config import TASKS, WorldConfig
from learners.quizzes.statistics import describe, explaining_tasks, nearest, of_grids
from learners.quizzes.tasks import Quizzes, make
from learners.quizzes.training import joined, make_world

WORLD = WorldConfig()


@pytest.mark.parametrize("task", TASKS)
def test_quizzes_of_the_world_are_not_new(task: str):
    quizzes = make(WORLD, next(each for each in TASKS if each == task), 5, np.random.default_rng(0))
    assert all(task in explaining_tasks(TASKS, *quiz) for quiz in zip(*quizzes, strict=True))
    wrong = quizzes.fb.copy()
    wrong[:, 9, 9] = (wrong[:, 9, 9] + 1) % 11
    assert not any(task in explaining_tasks(TASKS, *quiz) for quiz in zip(*quizzes._replace(fb=wrong), strict=True))


def test_components_are_counted_by_hand():
    grid = np.array([[1, 1, 0, 2], [1, 0, 0, 2], [0, 1, 0, 2], [3, 3, 3, 3]], np.uint8)
    empty = np.zeros_like(grid)
    # An L of 1 and a lone 1 (diagonal is no neighbour), a bar of 2, a bar of 3.
    assert of_grids(grid[None]) == {"colours": 3.0, "components": 4.0, "irregular": 1.0}
    assert of_grids(np.stack([grid, empty])) == {"colours": 1.5, "components": 2.0, "irregular": 0.5}


def test_a_spiral_is_one_component():
    grid = np.zeros((5, 5), np.uint8)
    grid[0], grid[:, 4], grid[4], grid[2:, 0], grid[2, :3] = 1, 1, 1, 1, 1
    assert of_grids(grid[None])["components"] == 1.0


def test_a_description_tells_new_from_known():
    world, _ = make_world(WORLD, 70, np.random.default_rng(0))
    known = make(WORLD, "frame", 3, np.random.default_rng(1))
    noise = Quizzes(*np.random.default_rng(2).integers(11, size=(4, 1, 10, 10)).astype(np.uint8))
    found = describe(joined([known, noise]), TASKS, world)
    assert found["novelty"] == 0.25
    assert found["explained/frame"] == 3
    assert found["entropy"] == 0.0
    assert found["components"] > found["components_world"] > 1.0
    assert found["irregular"] > found["irregular_world"]
    assert found["distance"] == nearest(joined([known, noise]), world).mean()
    assert describe(world, TASKS, world)["distance"] == 0.0
    assert nearest(noise, Quizzes(*(grids ^ np.uint8(1) for grids in noise))).tolist() == [400]
