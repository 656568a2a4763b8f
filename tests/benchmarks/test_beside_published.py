"""Ours and the published way of doing the same work."""

from typing import Any

import pytest

from benchmarks.beside_published import IMAGINATION, measure, separately
from benchmarks.imagination import rollout
from benchmarks.synthetic import settle, synthetic_learner
from benchmarks.workload import PARTS
from tests.benchmarks.workloads import parse_workload


@pytest.mark.parametrize("preset", ["debug", "delta-iris-debug"])
def test_every_part_and_imagination_are_measured_both_ways(preset: str):
    found = measure(preset, "float32", "cpu", repeats=1)
    for name in (*PARTS, IMAGINATION):
        assert found[name]["speedup"] == pytest.approx(found[name]["published_way_seconds"] / found[name]["seconds"])


@pytest.mark.parametrize(("preset", "positions"), [("debug", 17), ("delta-iris-debug", 6)])
def test_the_published_way_feeds_single_positions(preset: str, positions: int):
    learner = synthetic_learner(workload := parse_workload(f"--preset {preset}"), num_steps=20)
    settle(workload, learner, "actor_critic")
    world_model: Any = learner.parts["world_model"].module
    lengths: list[int] = []
    world_model.transformer.norm.register_forward_hook(lambda module, args, output: lengths.append(output.shape[1]))
    counts = []
    for num_steps in (2, 3):
        lengths.clear()
        separately(world_model, rollout(workload, learner, num_steps))
        counts.append(lengths.count(1))
    assert counts[1] - counts[0] == positions
