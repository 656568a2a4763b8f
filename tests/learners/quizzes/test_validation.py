"""How models make quizzes up and judge them: three steps, votes, and the rules that were published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from learners.quizzes import validation
from learners.quizzes.config import GenerationConfig, ValidationConfig
from learners.quizzes.generation import generate
from learners.quizzes.sequences import BACKWARD, FORWARD, Order
from learners.quizzes.tasks import Grids, Quizzes, are_trivial
from learners.quizzes.training import make_world, solve
from learners.quizzes.validation import FAILS, UNDECIDED, UNDERSTANDS, are_kept, probabilities, swapped, votes
from tests.learners.quizzes.test_network import LAYOUT, WORLD, network

QUIZZES, _ = make_world(WORLD, 6, np.random.default_rng(0))
TALK = ValidationConfig()
PROBABILITY = ValidationConfig(by="probability", least_failures=1, most_failures=2)
NEWEST = ValidationConfig(judges=4, least_passes=2, least_failures=2, most_failures=0, undecided=True, wrong_cells=5)


def made(seed: int) -> Quizzes:
    return generate(network(), GenerationConfig(), 8, torch.Generator().manual_seed(seed)).quizzes


def test_a_generator_decides_what_is_made_up():
    first, again, other = made(0), made(0), made(1)
    assert all(np.array_equal(*each) for each in zip(first, again, strict=True))
    assert not np.array_equal(first.a, other.a)
    assert max(grids.max() for grids in first) <= LAYOUT.colours


def test_each_temperature_is_that_of_its_steps():
    first = generate(network(), GenerationConfig(), 8, torch.Generator().manual_seed(0))
    hotter = generate(network(), GenerationConfig(hot=9.0), 8, torch.Generator().manual_seed(0))
    colder = generate(network(), GenerationConfig(cold=0.01), 8, torch.Generator().manual_seed(0))
    assert np.array_equal(first.first, colder.first)
    assert not np.array_equal(first.first, hotter.first)
    assert not np.array_equal(first.quizzes.b, colder.quizzes.b)
    coldest = generate(network(), GenerationConfig(hot=9.0, cold=1e-6), 8, torch.Generator().manual_seed(0)).quizzes
    assert np.array_equal(coldest.fb, solve(network(), coldest))


def test_quizzes_that_ask_nothing_are_trivial():
    a, fa, b, fb = QUIZZES
    assert not are_trivial(QUIZZES).any()
    for same in (Quizzes(a, a, b, fb), Quizzes(a, fa, b, b), Quizzes(a, fa, a, fb)):
        assert are_trivial(same).all()
    one = fa.copy()
    one[3] = a[3]
    assert np.flatnonzero(are_trivial(Quizzes(a, one, b, fb))).tolist() == [3]


def answer(monkeypatch: pytest.MonkeyPatch, forward: Grids, backward: Grids) -> None:
    def solve(_: object, quizzes: Quizzes, order: Order = FORWARD) -> Grids:
        assert np.array_equal(quizzes.a, QUIZZES.a if order == FORWARD else QUIZZES.b)
        return forward if order == FORWARD else backward

    monkeypatch.setattr(validation, "solve", solve)


def test_votes_are_of_the_whole_grid_in_one_direction_or_both(monkeypatch: pytest.MonkeyPatch):
    forward, backward = QUIZZES.fb.copy(), QUIZZES.b.copy()
    forward[1, 0, 0] ^= 1
    forward[2, 0, :2] ^= 1
    backward[3, 1, 1] ^= 1
    answer(monkeypatch, forward, backward)

    def found(**settings: object) -> list[int]:
        return votes(network(), ValidationConfig.model_validate(settings), QUIZZES).tolist()

    assert found() == [UNDERSTANDS, FAILS, FAILS, UNDERSTANDS, UNDERSTANDS, UNDERSTANDS]
    assert found(backward=True) == [UNDERSTANDS, FAILS, FAILS, FAILS, UNDERSTANDS, UNDERSTANDS]
    assert found(wrong_cells=1) == [UNDERSTANDS, UNDECIDED, FAILS, UNDERSTANDS, UNDERSTANDS, UNDERSTANDS]


def test_the_probability_is_the_product_of_those_of_all_cells_both_ways():
    gpt = network()
    expected = np.zeros(len(QUIZZES.a))
    for quizzes, order in ((QUIZZES, FORWARD), (swapped(QUIZZES), BACKWARD)):
        tokens = torch.from_numpy(LAYOUT.encode(quizzes, order)).long()
        for place in range(LAYOUT.length - LAYOUT.cells, LAYOUT.length):
            odds = gpt(tokens)[:, place, : 1 + LAYOUT.colours].softmax(dim=1)
            expected += odds[range(len(tokens)), tokens[:, place]].log().detach().numpy()
    assert probabilities(gpt, QUIZZES) == pytest.approx(np.exp(expected), rel=1e-4)
    config = ValidationConfig(by="probability", understood_above=1.0, failed_below=0.99)
    assert (votes(gpt, config, QUIZZES) == FAILS).all()
    assert (votes(gpt, ValidationConfig(by="probability", understood_above=0.0, failed_below=0.0), QUIZZES) == 1).all()


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (TALK, [False, True, False, False, False]),
        (PROBABILITY, [False, True, True, False, False]),
        (TALK.model_copy(update={"least_failures": 0, "most_failures": 0}), [True, True, True, True, False]),
        (TALK.model_copy(update={"least_failures": 0, "least_passes": 4}), [True, False, False, False, False]),
        (NEWEST, [False, False, True, False, False]),
    ],
)
def test_rules_that_were_published_are_settings(config: ValidationConfig, kept: list[bool]):
    found = np.array([[1, 1, 1, 1], [1, -1, 1, 1], [1, -1, -1, 1], [-1, -1, -1, 1], [1, 0, -1, 1]], np.int8)
    assert are_kept(found, config, np.random.default_rng(0)).tolist() == kept


def test_judges_are_drawn_for_each_quiz():
    found = np.tile(np.array([-1, 1, 1, 1, 1, 1], np.int8), (6000, 1))
    config = ValidationConfig(judges=2)
    kept = are_kept(found, config, np.random.default_rng(0))
    assert kept.mean() == pytest.approx(1 / 3, abs=0.03)
    assert (kept == are_kept(found, config, np.random.default_rng(0))).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"most_failures": 1, "least_failures": 2}, "most_failures: found 1, expected at least 2"),
        ({"wanted": 5, "held_out": 5}, "held_out: found 5, expected fewer than wanted, 5"),
        ({"failed_below": 0.96}, "failed_below: found 0.96, expected at most understood_above, 0.95"),
    ],
)
def test_rules_that_keep_nothing_are_refused(settings: dict[str, object], words: str):
    with pytest.raises(ValidationError, match=words):
        ValidationConfig.model_validate(settings)
