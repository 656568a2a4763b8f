"""Collecting through Ray, against a bare loop."""

import pytest

from benchmarks.collect import measure
from cluster.config import ClusterConfig
from pipeline.presets import preset

DEBUG = preset("debug")

pytestmark = pytest.mark.ray


def test_a_round_is_of_all_collectors_and_what_is_stored_is_counted(cluster: ClusterConfig):
    found = measure(DEBUG, num_collectors=2, env_processes=0, steps=30, repeats=1)
    assert found["collectors"] == 2
    assert found["times_bare"] == pytest.approx(found["steps_per_second"] / found["bare_steps_per_second"])
    assert found["overhead_percent"] is None  # of one collector only
    assert 0 < found["seconds_of_a_call"] < 60
    assert 10 < found["bytes_of_a_stored_step"] < 12_288  # of a frame, compressed


def test_processes_that_step_environments_are_compared_with_none(cluster: ClusterConfig):
    collection = DEBUG.collection.model_copy(update={"envs_per_collector": 2})
    config = DEBUG.model_copy(update={"collection": collection})
    found = measure(config, num_collectors=1, env_processes=2, steps=30, repeats=1)
    assert found["speedup_by_env_processes"] > 0
    assert found["overhead_percent"] > -100
