"""What is an action of a space and what is not; uniform draws; one line for who cannot act in a box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learners.action_space import ActionSpace, Box, Discrete
from learners.algorithm import AgentConfig
from learners.config import AlgorithmConfig
from learners.errors import AlgorithmError
from tests.learners.fakes import TINY_DELTA_IRIS, TINY_IRIS

BOX = Box((-1.0, 0.0), (1.0, 0.1))
NAN = float("nan")


def floats(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (Discrete(3), 0),
        (Discrete(3), np.int64(2)),
        (BOX, floats(-1.0, 0.0)),
        (BOX, floats(1.0, 0.1)),  # as float32, which is above 0.1
    ],
)
def test_an_action_of_the_space_is_taken(space: ActionSpace, action: Any):
    space.check(action)


@pytest.mark.parametrize(
    ("space", "action", "found"),
    [
        (Discrete(3), -1, "-1, expected 0..2"),
        (Discrete(3), 3, "3, expected 0..2"),
        (Discrete(3), NAN, "nan, expected 0..2"),
        (Discrete(3), floats(1.0), r"\[1\.\], expected 0..2"),
        (BOX, floats(NAN, 0.0), r"float32 \[nan, +0.\], expected float32, 2 numbers from \(-1, 0\) to \(1, 0\.1\)"),
        (BOX, floats(0.0, 0.11), r"float32 \[0. +, 0.11\], expected .*"),
        (BOX, floats(-1.1, 0.0), r"float32 \[-1.1, 0. \], expected .*"),
        (BOX, floats(0.0), r"float32 \[0.\], expected .*"),
        (BOX, np.zeros(2), r"float64 \[0., 0.\], expected .*"),
        (BOX, 0, r"int64 0, expected .*"),
    ],
)
def test_anything_else_is_refused_in_one_line(space: ActionSpace, action: Any, found: str):
    with pytest.raises(ValueError, match=f"^unknown action: found {found}$"):
        space.check(action)


@pytest.mark.parametrize(
    ("low", "high"),
    [((), ()), ((0.0,), (0.0,)), ((0.0,), (1.0, 2.0)), ((0.0,), (float("inf"),)), ((NAN,), (1.0,)), ((1.0,), (0.0,))],
)
def test_bounds_that_bound_nothing_are_refused(low: tuple[float, ...], high: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"^found (the )?bounds "):
        Box(low, high)


def test_draws_are_uniform_and_within_the_bounds():
    drawn = BOX.sample(np.random.default_rng(0), (100, 200))
    assert (drawn.shape, drawn.dtype) == ((100, 200, 2), np.float32)
    for action in drawn.reshape(-1, 2)[:1000]:
        BOX.check(action)
    for column, low, high in zip(drawn.reshape(-1, 2).T, BOX.low, BOX.high, strict=True):
        counts, _ = np.histogram(column, bins=10, range=(low, high))
        assert counts.sum() == 20_000
        assert np.abs(counts - 2000).max() < 4 * np.sqrt(20_000 * 0.1 * 0.9)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("space", [Discrete(4), BOX])
def test_a_stack_is_taken_apart_into_what_it_was_made_of(space: ActionSpace, count: int):
    drawn = space.sample(np.random.default_rng(0), count)
    stacked = space.stack(space.unstack(drawn))
    assert (stacked.shape, stacked.dtype) == ((count, *space.shape), space.dtype)
    assert (stacked == drawn).all()


@pytest.mark.parametrize("config", [TINY_IRIS, TINY_DELTA_IRIS], ids=lambda config: config.kind)
def test_who_chooses_among_actions_refuses_a_box_in_one_line(config: AlgorithmConfig):
    with pytest.raises(AlgorithmError, match=rf"^{config.kind}: found actions of 2 numbers from .*, expected one of"):
        AgentConfig(config, BOX).build()
