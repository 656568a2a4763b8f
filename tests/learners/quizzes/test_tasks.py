"""Tasks of the world: every quiz has one solution, and is what its task says."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from learners.quizzes.config import TASKS, GridConfig, Task, WorldConfig
from learners.quizzes.rectangles import NoRoomError, check_room, draw, masks
from learners.quizzes.tasks import Quizzes, apply, explain, make

SMALL = GridConfig(size=4, colours=4, rectangles=2, least_side=1, least_area=2, most_area=9)
WORLDS = [(GridConfig(), task) for task in TASKS]
WORLDS += [(GridConfig(reach=9), task) for task in ("translate", "motion")]
WORLDS += [(SMALL, task) for task in TASKS if task not in ("frame", "grow", "motion")]


def made(task: Task, count: int, grid: GridConfig = GridConfig(), seed: int = 0) -> Quizzes:  # noqa: B008 - frozen
    return make(WorldConfig(grid=grid, tasks=(task,)), task, count, np.random.default_rng(seed))


@pytest.mark.parametrize(("grid", "task"), WORLDS, ids=lambda each: each if isinstance(each, str) else f"{each.edge}")
def test_every_quiz_has_one_solution(grid: GridConfig, task: Task):
    for a, fa, b, fb in zip(*made(task, 60, grid), strict=True):
        rules = explain(task, a, fa)
        assert rules
        found = [apply(task, rule, b) for rule in rules]
        assert {each.tobytes() for each in found if each is not None} == {fb.tobytes()}


@pytest.mark.parametrize("task", TASKS)
def test_no_quiz_is_trivial_and_another_task_explains_few(task: Task):
    quizzes = made(task, 100)
    for one, other in ((quizzes.a, quizzes.fa), (quizzes.b, quizzes.fb), (quizzes.a, quizzes.b)):
        assert not (one == other).all(axis=(1, 2)).any()
    assert all(grids.dtype == np.uint8 and grids.shape == (100, 10, 10) for grids in quizzes)
    assert max(grids.max() for grids in quizzes) == 10
    others = sum(bool(explain(other, quizzes.a[0], quizzes.fa[0])) for other in TASKS if other != task)
    assert others == 0


def test_the_same_generator_makes_the_same_quizzes():
    assert all(np.array_equal(*each) for each in zip(made("grow", 5), made("grow", 5), strict=True))
    assert not np.array_equal(made("grow", 5).a, made("grow", 5, seed=1).a)


def test_rules_by_hand():
    grid = np.zeros((5, 5), np.uint8)
    grid[0:3, 0:3], grid[4, 4] = 1, 2
    framed = apply("frame", (1,), grid)
    assert framed is not None
    assert framed[1, 1] == 0
    assert (framed == 1).sum() == 8
    assert apply("frame", (3,), grid) is None
    detected = apply("detect", ((1, 2), 7), grid)
    assert detected is not None
    assert np.argwhere(detected == 7).tolist() == [[0, 0], [4, 4]]
    moved = apply("translate", (1, 1, 1), grid)
    assert moved is not None
    assert np.argwhere(moved == 1).min(axis=0).tolist() == [1, 1]
    assert apply("translate", (1, -1, 0), grid) is None
    shrunk = apply("grow", (1, -1), grid)
    assert shrunk is not None
    assert np.argwhere(shrunk == 1).tolist() == [[1, 1]]
    line = np.zeros((5, 5), np.uint8)
    line[1:4, 1:4], line[2, 1:4] = 3, 4
    filled = apply("half_fill", (3, 4, 0), line)
    assert filled is not None
    assert (filled[2:4, 1:4] == 4).all()
    assert (filled[1, 1:4] == 3).all()
    assert apply("half_fill", (3, 4, 2), line) is None
    motion = np.zeros((5, 5), np.uint8)
    motion[0, 0], motion[1, 1] = 5, 6
    later = apply("motion", (5, 6), motion)
    assert later is not None
    assert np.argwhere(later == 6).tolist() == [[1, 1], [2, 2], [3, 3], [4, 4]]


@pytest.mark.parametrize("reach", [0, 9])
def test_rectangles_are_apart_of_their_size_and_uniform(reach: int):
    config = GridConfig(reach=reach)
    drawn = draw(config, 4_000, np.random.default_rng(0))
    cells = masks(drawn, 10)
    assert cells.sum(axis=1).max() == 1
    sides = drawn[..., 1::2] - drawn[..., ::2]
    assert sides.min() == 3
    assert 9 <= sides.prod(axis=2).min() <= sides.prod(axis=2).max() <= 50
    used = np.asarray(cells.any(axis=(0, 1)))
    assert used[:9, :9].all()
    assert used[9].any() == used[:, 9].any() == (reach == 0)
    # As often in one half as in the other, within four standard errors.
    assert (
        abs(cells[..., :5, :].sum() - cells[..., -5 - (reach == 9) : 10 - (reach == 9), :].sum()) < 4 * 4_000**0.5 * 30
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"grid": {"size": 4, "colours": 3, "most_area": 9}, "tasks": ["replace_color"]}, "expected 4 or more for"),
        (
            {"grid": {"size": 3, "most_area": 9}, "tasks": ["grow"]},
            "no room for 4 × 4 cells, which grow needs",
        ),
        ({"tasks": ["frame", "frame"]}, "tasks: found frame, frame, expected some, each once"),
        ({"tasks": []}, "tasks: found none, expected some, each once"),
        ({"grid": {"rectangles": 1}, "tasks": ["detect"]}, "found 1, expected 2 or more for detect"),
        (
            {"grid": {"reach": 2, "least_side": 1, "least_area": 1}, "tasks": ["motion"]},
            "found no room for 3 × 3 cells",
        ),
        ({"grid": {"reach": 11}}, "reach: found 11, expected at most size, 10"),
        ({"grid": {"most_area": 8}}, "most_area: found 8, expected at least 9"),
    ],
)
def test_a_world_that_cannot_be_is_refused(settings: dict[str, object], says: str):
    with pytest.raises(ValidationError, match=says):
        WorldConfig.model_validate(settings, strict=False)


def test_a_grid_without_room_says_so():
    crowded = GridConfig(size=6, rectangles=4, least_side=4, least_area=16, most_area=36)
    with pytest.raises(NoRoomError, match="found 0 of all draws of 4 rectangles of 16 cells or more in 6 × 6 to fit"):
        check_room(crowded, draws=50_000)
    with pytest.raises(NoRoomError, match="found 0 draws of 4 rectangles that fit, expected 10"):
        draw(crowded, 10, np.random.default_rng(0))
    check_room(GridConfig(), draws=50_000)
