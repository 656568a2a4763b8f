"""A round's harvest: counts add up, a blind model decides what is kept, files say what they hold."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save

from learners.quizzes.config import GridConfig, Task, ValidationConfig, WorldConfig
from learners.quizzes.culture import Cells, Counts, Culture, Harvest, mixture
from learners.quizzes.tasks import Quizzes, apply, explain, make
from learners.quizzes.training import make_world
from learners.quizzes.validation import FAILS, UNDERSTANDS, Votes
from learners.streams import Streams

WORLD = WorldConfig(tasks=("replace_color", "frame"))
STREAMS = Streams(0)


class Solver:
    """Makes quizzes of the world up, and solves every task but those it is blind to."""

    def __init__(self, number: int, *blind: Task) -> None:
        self._number = number
        self._sees: list[Task] = [task for task in WORLD.tasks if task not in blind]

    def generate(self, batch: int) -> Quizzes:
        return make_world(WORLD, 6, STREAMS.numpy("made up", self._number, batch))[0]

    def judge(self, quizzes: Quizzes) -> Votes:
        return np.array([UNDERSTANDS if self._solves(*quiz) else FAILS for quiz in zip(*quizzes, strict=True)], np.int8)

    def _solves(self, a: np.ndarray, fa: np.ndarray, b: np.ndarray, fb: np.ndarray) -> bool:
        found = [apply(task, rule, b) for task in self._sees for rule in explain(task, a, fa)]
        return any(each is not None and (each == fb).all() for each in found)


def cells_of(quizzes: Quizzes) -> Cells:
    return np.stack(quizzes, axis=1)


def keys_of(cells: Cells) -> list[bytes]:
    return [each.tobytes() for each in cells]


def harvest(solvers: list[Solver], wanted: int, known: tuple[bytes, ...] = (), most: int = 8) -> tuple[Culture, Counts]:
    found = Harvest(ValidationConfig(wanted=wanted, held_out=0), len(solvers), known, STREAMS, 1)
    for batch in range(most):
        offered = found.offer([cells_of(each.generate(batch)) for each in solvers], batch)
        found.take(offered, np.stack([each.judge(offered.quizzes) for each in solvers], axis=1))
        if found.is_full:
            break
    return found.culture(), found.counts


def test_what_one_model_is_blind_to_is_kept_and_it_is_the_one_that_fails():
    culture, counts = harvest([Solver(0), Solver(1, "frame"), Solver(2)], wanted=12)
    assert len(culture) == 12
    assert [bool(explain("frame", a, fa)) for a, fa, _, _ in zip(*culture.quizzes, strict=True)] == [True] * 12
    assert (culture.votes == [UNDERSTANDS, FAILS, UNDERSTANDS]).all()
    assert set(culture.authors) == {0, 1, 2}
    assert counts.validated == counts.by_passes[2] >= 12
    assert sum(counts.by_passes) == counts.judged == counts.generated - counts.trivial - counts.duplicate
    assert counts.by_passes[:2] == [0, 0]
    for place, author, batch in zip(culture.places, culture.authors, culture.batches, strict=True):
        assert keys_of(cells_of(Solver(int(author)).generate(int(batch))))[place] in keys_of(culture.cells)


def test_what_two_are_blind_to_is_not_kept():
    culture, counts = harvest([Solver(0), Solver(1, "frame"), Solver(2, "frame")], wanted=12, most=2)
    assert len(culture) == counts.validated == 0
    assert counts.by_passes[1] > 0


def test_a_quiz_is_kept_once():
    solvers = [Solver(0), Solver(1, "frame"), Solver(2)]
    first, _ = harvest(solvers, wanted=5)
    known = tuple(keys_of(first.cells))
    second, counts = harvest(solvers, wanted=5, known=known)
    assert counts.duplicate == 5
    assert not set(keys_of(second.cells)) & set(known)
    again = Harvest(ValidationConfig(), 1, (), STREAMS, 1)
    cells = cells_of(make(WORLD, "frame", 4, np.random.default_rng(0)))
    offered = again.offer([cells, cells], 0)
    assert (len(offered), set(offered.authors)) == (4, {0})
    assert (again.counts.duplicate, again.counts.judged, again.counts.repeated_rules) == (4, 4, 0)
    asked_anew = cells.copy()
    asked_anew[:, 2:] = cells[::-1, 2:]
    assert len(again.offer([asked_anew], 1)) == again.counts.repeated_rules == 4


def test_trivial_quizzes_are_counted_before_anybody_judges():
    quizzes = make(WORLD, "frame", 4, np.random.default_rng(0))
    found = Harvest(ValidationConfig(), 1, (), STREAMS, 1)
    offered = found.offer([cells_of(quizzes._replace(fb=quizzes.b))], 0)
    assert len(offered) == 0
    found.take(offered, np.zeros((0, 1), np.int8))
    assert (found.counts.generated, found.counts.trivial, found.counts.judged) == (4, 4, 0)


def test_a_file_holds_what_was_kept_and_nothing_else_is_taken_for_one():
    culture, _ = harvest([Solver(0), Solver(1, "frame"), Solver(2)], wanted=6)
    data = culture.to_bytes()
    again = Culture.from_bytes(data, WORLD.grid, 3)
    assert again.to_bytes() == data
    assert np.array_equal(again.cells, culture.cells)
    small = GridConfig(size=4, colours=4, rectangles=2, least_side=1, least_area=2, most_area=9)
    for grid, models, words in (
        (small, 3, "found quizzes of another kind, first difference at cells"),
        (WORLD.grid, 4, "found quizzes of another kind, first difference at votes"),
        (GridConfig(colours=8, rectangles=3), 3, r"cells: found 0 to (9|10), expected 0 to 8"),
    ):
        with pytest.raises(ValueError, match=words):
            Culture.from_bytes(data, grid, models)
    for other in (b"{}", save({}), save({"cells": np.zeros((), np.uint8)})):
        with pytest.raises(ValueError, match="found no file of quizzes"):
            Culture.from_bytes(other, WORLD.grid, 3)
    culture.authors[0] = 3
    with pytest.raises(ValueError, match="authors: found 0 to 3, expected 0 to 2"):
        Culture.from_bytes(culture.to_bytes(), WORLD.grid, 3)


@pytest.mark.parametrize(("known", "taken"), [(3, 3), (30, 10)])
def test_so_much_of_what_is_trained_on_is_culture(known: int, taken: int):
    world, culture = (
        make_world(WORLD, number, np.random.default_rng(seed))[0] for seed, number in ((0, 21), (1, known))
    )
    cells = keys_of(cells_of(culture))
    for newest_first in (True, False):
        mixed = mixture(world, culture, 10, np.random.default_rng(2), newest_first=newest_first)
        found = keys_of(cells_of(mixed))
        from_culture = [each for each in found if each in cells]
        assert len(from_culture) == len(set(from_culture)) == taken
        assert len(set(found)) == 21
        if newest_first:
            assert set(from_culture) == set(cells[-taken:])
