"""From the seconds of one iteration to the hours of a run."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.iteration import NOT_MEASURED, derived_columns, extrapolate, phase, playable
from benchmarks.synthetic import synthetic_learner
from benchmarks.synthetic_environment import SyntheticConfig
from pipeline.config import RunConfig
from pipeline.presets import preset
from tests.benchmarks.workloads import parse_workload

DEBUG = preset("debug")

HOUR = 3600.0


def test_a_phase_is_scaled_to_what_an_iteration_has_of_it():
    row = phase("gradient steps", 5, 200, 10.0)
    assert (row["seconds_each"], row["seconds_per_iteration"]) == (2.0, 400.0)


def test_a_run_takes_each_phase_as_often_as_its_schedule_says():
    config = _scheduled()
    phases = {
        name: phase("", 1, 1, HOUR) for name in ("collect", "tokenizer", "world_model", "actor_critic", "publish")
    }
    phases |= {f"fill_{name}": phase("", 1, 1, HOUR) for name in ("tokens", "reconstructions")}
    learner = synthetic_learner(parse_workload(), num_steps=10)
    run = extrapolate(config, learner, {**phases, "commit": NOT_MEASURED})
    # 5 iterations; 20 steps in each of the first 4, so 20, 40, 60, 80 and 80 are stored.
    assert run["extrapolated_hours"] == {
        "collect": 80,
        "tokenizer": 2 * 4,  # iterations 2..5
        "world_model": 2 * 3,
        "actor_critic": 2 * 1,
        "publish": 5,
        "fill_tokens": 60 + 80 + 80,  # from the world model's first iteration
        "fill_reconstructions": 80,  # from the actor-critic's
    }
    assert run["total_hours"] == pytest.approx(80 + 8 + 6 + 2 + 5 + 220 + 80)
    assert run["left_out"] == ["evaluation", "commit"]


def test_columns_are_known_with_the_parts_that_read_them():
    readers = derived_columns(synthetic_learner(parse_workload(), num_steps=10))
    assert readers == {"tokens": ["world_model", "actor_critic"], "reconstructions": ["actor_critic"]}


def test_a_game_whose_packages_are_there_is_played_itself():
    assert playable(DEBUG) == (DEBUG.env, "catch")


def test_a_game_whose_packages_are_missing_is_replaced_by_a_synthetic_one(monkeypatch: pytest.MonkeyPatch):
    def build(self: object, seed: int) -> None:
        raise ModuleNotFoundError("No module named 'ale_py'")

    monkeypatch.setattr(type(DEBUG.env), "build", build)
    assert playable(DEBUG) == (SyntheticConfig(), "synthetic")


def _scheduled() -> RunConfig:
    """DEBUG with the parts starting one after another."""
    data: dict[str, Any] = DEBUG.model_dump() | {"iterations": 5}
    data["collection"] |= {"last_iteration": 4}
    data["algorithm"]["tokenizer"]["training"] |= {"starts_after": 1}
    data["algorithm"]["world_model"]["training"] |= {"starts_after": 2}
    data["algorithm"]["actor_critic"]["training"] |= {"starts_after": 4}
    return RunConfig.model_validate(data)
