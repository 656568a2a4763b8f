"""When a part may train: its schedule, the gates before it, and its own gate."""

from typing import Any

import pytest

from learners.config import Gate, PartTraining
from pipeline.config import RunConfig
from pipeline.presets import preset

CATCH = preset("catch")
DEBUG = preset("debug")

PARTS = ("tokenizer", "world_model", "actor_critic")


def training(config: RunConfig, iteration: int, earlier: list[dict[str, Any]], now: dict[str, Any]) -> list[str]:
    """The parts that may train, after `earlier` iterations, with the metrics of this one so far."""
    return [part for part in PARTS if config.gradient_steps(part, iteration, earlier, now)]


BAD = {"tokenizer/worst_pixel_error": 0.9, "world_model/token_accuracy": 0.3}
DRAWN = {"tokenizer/worst_pixel_error": 0.4, "world_model/token_accuracy": 0.3}
PREDICTED = {"world_model/token_accuracy": 0.95}


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        ([], {}, ["tokenizer"]),
        ([BAD], BAD, ["tokenizer"]),
        ([BAD], DRAWN, ["tokenizer", "world_model"]),
        ([BAD, DRAWN], {}, ["world_model"]),  # the tokenizer has stopped
        ([BAD, DRAWN], PREDICTED, ["world_model", "actor_critic"]),
        ([DRAWN, PREDICTED, {"world_model/token_accuracy": 0.1}], {}, ["world_model", "actor_critic"]),
    ],
)
def test_gates_open_once_and_for_all(earlier: list[dict[str, Any]], now: dict[str, Any], expected: list[str]):
    assert training(CATCH, 9, earlier, now) == expected


def test_without_gates_the_schedule_alone_decides():
    config = RunConfig.model_validate(_starting_after(DEBUG, 5))
    assert training(config, 5, [], {}) == ["tokenizer", "world_model"]
    assert training(config, 6, [BAD], BAD) == ["tokenizer", "world_model", "actor_critic"]


def test_the_first_iteration_may_take_another_number_of_gradient_steps():
    training = PartTraining(starts_after=0, batch_size=1, steps_per_iteration=3, first_steps=7)
    assert [training.steps_in(iteration) for iteration in (1, 2, 3)] == [7, 3, 3]
    later = training.model_copy(update={"starts_after": 1})  # then the first one is not its own
    assert [later.steps_in(iteration) for iteration in (1, 2, 3)] == [0, 3, 3]


def test_an_open_gate_does_not_hasten_the_schedule():
    config = RunConfig.model_validate(_starting_after(CATCH, 9))
    assert "actor_critic" not in training(config, 9, [DRAWN, PREDICTED], {})


@pytest.mark.parametrize(("above", "value", "opens"), [(True, 2.0, True), (True, 1.0, False), (False, 0.5, True)])
def test_a_gate_compares_its_own_metric(above: bool, value: float, opens: bool):
    gate = Gate(part="a", metric="m", threshold=1.0, above=above, stops=False)
    assert gate.opens({"a/m": value, "b/m": 1.0}) is opens
    assert not gate.opens({"b/m": value})


def _starting_after(config: RunConfig, iteration: int) -> dict[str, Any]:
    """The settings with a policy that starts so late."""
    settings = config.model_dump()
    settings["algorithm"]["actor_critic"]["training"]["starts_after"] = iteration
    return settings
