"""A model as a process: its streams decide everything, and its file is all that it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learners.quizzes.config import SocietyConfig, ValidationConfig
from learners.quizzes.culture import Cells, Culture, quizzes_of
from learners.quizzes.learner import QuizLearner
from learners.quizzes.tasks import Quizzes
from learners.quizzes.training import make_world
from learners.quizzes.validation import FAILS, UNDERSTANDS
from tests.learners.quizzes.test_network import TINY, WORLD

SOCIETY = SocietyConfig.model_validate(
    {
        "models": 3,
        "world": WORLD.model_dump(),
        "network": TINY.model_dump(),
        "training": {"sequences": 40, "batch_size": 8, "learning_rate": 2e-3},
        "generation": {"batch": 6},
        "validation": {"wanted": 4, "held_out": 1},
        "tests": 20,
    }
)
NOTHING = np.zeros((0, 4, 3, 3), np.uint8)


def some(count: int) -> Cells:
    return np.stack(make_world(WORLD, count, np.random.default_rng(9))[0], axis=1)


def learner(number: int = 0, seed: int = 0) -> QuizLearner:
    return QuizLearner(SOCIETY, number, seed=seed)


def test_an_epoch_is_what_round_model_and_culture_make_of_it(tmp_path: Path):
    def after(number: int, round_number: int, culture: Cells, slices: int = 2) -> str:
        model = learner(number)
        for _ in range(0, steps := model.begin_epoch(round_number, culture), slices):
            model.train(slices)
        assert steps == 5
        (found,) = model.save(str(tmp_path)).values()
        return found

    first = after(0, 1, NOTHING)
    assert after(0, 1, NOTHING, slices=5) == first
    assert len({first, after(1, 1, NOTHING), after(0, 2, NOTHING), after(0, 1, some(6))}) == 4


def held_out(count: int, failed_by: int = 0) -> Culture:
    """Quizzes that one of three models failed."""
    votes = np.full((count, 3), UNDERSTANDS, np.int8)
    votes[:, failed_by] = FAILS
    numbers = np.zeros(count, np.int64)
    return Culture(some(count), votes, numbers, numbers, np.arange(count))


def test_a_test_tells_world_from_culture():
    model = learner()
    model.begin_epoch(1, NOTHING)
    model.train(5)
    found = model.test(1, {1: held_out(0), 3: held_out(4, failed_by=1)})
    assert list(found) == [
        "loss",
        "culture/accuracy/3",
        "culture/accuracy",
        "world/accuracy",
        "world/accuracy backward",
        "world/accuracy/replace_color",
        "accuracy",
    ]
    without = model.test(1, {})
    assert "culture/accuracy" not in without
    assert "loss" not in without
    assert without["accuracy"] == without["world/accuracy"]


def test_accuracy_is_over_both_and_what_was_failed_is_told_apart(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def are_solved(_: object, quizzes: Quizzes, *order: object) -> np.ndarray:
        asked.append(len(quizzes.a))
        return np.arange(asked[-1]) < (asked[-1] == 4) * 3

    monkeypatch.setattr("learners.quizzes.learner.are_solved", are_solved)
    model = learner()
    assert model.test(1, {1: held_out(4)})["accuracy"] == 0.0  # no epoch, no culture in it
    asked.clear()
    model.begin_epoch(1, some(12))
    model.train(5)
    found = model.test(1, {1: held_out(4), 2: held_out(2, failed_by=1)})
    assert asked == [4, 2, 14, 14]  # 12 of 40 sequences are as 6 of 20 tests
    assert (found["culture/accuracy/1"], found["culture/accuracy/2"]) == (0.75, 0.0)
    assert (found["culture/accuracy of once failed"], found["culture/once failed"]) == (0.75, 4)
    assert (found["world/accuracy"], found["culture/accuracy"], found["accuracy"]) == (0.0, 0.5, 0.15)
    model.begin_epoch(2, some(300))
    model.train(5)
    model.test(2, {1: held_out(30)})
    assert asked[4:] == [30, 10, 10]


def test_culture_may_be_left_out_of_training(tmp_path: Path):
    config = SOCIETY.model_copy(update={"culture_share": 0.0})
    saved = []
    for culture in (NOTHING, some(6)):
        model = QuizLearner(config, 0, seed=0)
        model.begin_epoch(1, culture)
        model.train(5)
        saved.append(model.save(str(tmp_path)))
    assert saved[0] == saved[1]


def test_what_is_made_up_is_of_round_model_and_batch():
    cells, first = learner().generate(1, 0)
    assert (cells.shape, first.shape) == ((6, 4, 3, 3), (6, 3, 3))
    assert np.array_equal(learner().generate(1, 0)[0], cells)
    for round_number, batch in ((2, 0), (1, 1)):
        assert not np.array_equal(learner().generate(round_number, batch)[0], cells)
    assert learner().judge(cells).shape == (6,)
    assert not quizzes_of(cells).a.any() or cells.max() <= WORLD.grid.colours


def test_a_file_is_all_that_a_model_is(tmp_path: Path):
    model = learner(seed=1)
    model.begin_epoch(1, NOTHING)
    model.train(9)
    saved = model.save(str(tmp_path))
    other = learner()
    assert other.save(str(tmp_path / ".")) != saved
    model.save(str(tmp_path))
    other.begin_epoch(1, NOTHING)
    other.load(str(tmp_path))
    assert "loss" not in other.test(1, {})  # the epoch that was begun never happened
    assert other.save(str(tmp_path)) == saved
    (tmp_path / "model-0.bin").write_bytes(b"1234")
    with pytest.raises(ValueError, match="weights of another network: expected"):
        other.load(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": 2}, "greater than or equal to 3"),
        ({"trained_at_once": 6}, "trained_at_once: found 6, expected at most 5"),
        ({"validation": ValidationConfig(judges=6)}, "validation.judges: found 6, expected at most 5"),
        (
            {"validation": ValidationConfig(least_passes=5)},
            r"least_failures: found 5 \+ 1, expected at most 5, as many as",
        ),
        ({"validation": ValidationConfig(judges=3, least_passes=3)}, r"found 3 \+ 1, expected at most 3, as many as"),
        ({"tests": 13}, "tests: found 13, expected at least 14, so that every task has some"),
    ],
)
def test_societies_that_cannot_be_are_refused(changes: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        SocietyConfig.model_validate(changes)
