"""What a run computes, counted."""

import json
from pathlib import Path

import pytest

from benchmarks.floors import main
from benchmarks.operations import KERNEL_SECONDS, count, step_operations
from benchmarks.synthetic import fill, synthetic_learner
from learners.columns import DERIVE_BATCH
from tests.benchmarks.workloads import parse_workload


def test_steps_are_counted_at_a_small_batch_and_add_up_to_the_run_of_the_preset(tmp_path: Path):
    main(["--preset", "delta-iris-debug", "--tflops", "2", "--out", str(tmp_path / "floors.json")])
    found = json.loads((tmp_path / "floors.json").read_text())
    rows, total = found["rows"], found["total"]
    whole = step_operations(parse_workload("--preset delta-iris-debug"), ["tokenizer", "world_model", "actor_critic"])
    for part, counted in whole.items():
        assert rows[part]["tflop"] == pytest.approx(counted.flops / 1e12, rel=0.05)
        assert rows[part]["kernels"] == counted.kernels
        steps = 2 * 3  # in each of three iterations
        assert rows[part]["hours_of_operations"] == pytest.approx(steps * rows[part]["tflop"] / 2 / 3600, rel=1e-3)
        assert rows[part]["hours_of_kernels"] == pytest.approx(
            steps * counted.kernels * KERNEL_SECONDS / 3600, rel=1e-3
        )
    learner = synthetic_learner(parse_workload("--preset delta-iris-debug"), num_steps=DERIVE_BATCH - 1)
    batch = count(lambda: fill(learner, ["tokens"])).flops / 1e12  # with the transition to a black frame
    assert rows["tokens"]["tflop"] == pytest.approx(batch / DERIVE_BATCH, rel=0.15)
    assert rows["tokens"]["per_iteration"] == 70  # steps: 30, then 20 in two iterations
    filled = 30 + 50 + 70
    assert rows["tokens"]["hours_of_operations"] == pytest.approx(filled * rows["tokens"]["tflop"] / 2 / 3600, rel=1e-3)
    assert total["tflop_per_iteration"] == pytest.approx(
        sum(row["tflop_per_iteration"] for row in rows.values()), rel=1e-3
    )
