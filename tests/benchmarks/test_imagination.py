"""What an imagined step consists of."""

from __future__ import annotations

import pytest

from benchmarks.imagination import columns_cost, rollout, step_contents
from benchmarks.operations import count
from benchmarks.synthetic import settle, synthetic_learner
from tests.benchmarks.workloads import parse_workload


@pytest.mark.parametrize(("preset", "tokens"), [("debug", 16), ("delta-iris-debug", 4)])
def test_an_imagined_step_is_a_transformer_call_per_token_and_the_same_operators_wherever_it_is(
    preset: str, tokens: int
):
    workload = parse_workload(f"--preset {preset}")
    learner = synthetic_learner(workload, num_steps=20)
    settle(workload, learner, "actor_critic")
    found = step_contents(workload, learner)
    assert found["transformer_calls"] == tokens
    kernels = [count(rollout(workload, learner, num_steps)).kernels for num_steps in (3, 4)]
    assert kernels[1] - kernels[0] == found["dependent_kernels"]


def test_the_cost_of_columns_is_extrapolated_and_shared_out_over_the_gradient_steps():
    cost = columns_cost(parse_workload(), 0.001, 30)
    assert cost["measured_frames"] == 30
    assert cost["extrapolated"][1] == {
        "frames": 100_000,
        "seconds_per_iteration": pytest.approx(100),
        "seconds_per_gradient_step": pytest.approx(50),  # the preset takes two
        "gradient_steps": 2,
    }
