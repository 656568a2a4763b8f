"""A model as a process: its streams decide everything, and its file is all that it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learners.quizzes.config import SocietyConfig, ValidationConfig
from learners.quizzes.culture import Cells, quizzes_of
from learners.quizzes.learner import QuizLearner
from learners.quizzes.training import make_world
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


def test_a_test_tells_world_from_culture():
    model = learner()
    model.begin_epoch(1, NOTHING)
    model.train(5)
    found = model.test(1, some(4))
    assert list(found) == [
        "loss",
        "world/accuracy",
        "world/accuracy backward",
        "world/accuracy/replace_color",
        "culture/accuracy",
        "accuracy",
    ]
    without = model.test(1, NOTHING)
    assert "culture/accuracy" not in without
    assert "loss" not in without
    assert without["accuracy"] == without["world/accuracy"]


def test_accuracy_is_over_both(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def are_solved(_: object, quizzes: object, *order: object) -> np.ndarray:
        asked.append(len(quizzes.a))  # type: ignore[attr-defined]
        return np.full(asked[-1], asked[-1] == 4)

    monkeypatch.setattr("learners.quizzes.learner.are_solved", are_solved)
    found = learner().test(1, some(4))
    assert asked == [16, 16, 4]
    assert (found["world/accuracy"], found["culture/accuracy"], found["accuracy"]) == (0.0, 1.0, 0.2)
    learner().test(1, some(30))
    assert asked[3:] == [10, 10, 10]


def test_what_is_made_up_is_of_round_model_and_batch():
    cells, first = learner().generate(1, 0), learner().beginnings(1, 0)
    assert (cells.shape, first.shape) == ((6, 4, 3, 3), (6, 3, 3))
    assert np.array_equal(learner().generate(1, 0), cells)
    for round_number, batch in ((2, 0), (1, 1)):
        assert not np.array_equal(learner().generate(round_number, batch), cells)
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
    other.load(str(tmp_path))
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
    ],
)
def test_societies_that_cannot_be_are_refused(changes: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        SocietyConfig.model_validate(changes)
