"""Collecting through Ray, against a bare loop."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from actors.envs.together import InProcesses
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
    assert found["speedup_by_env_processes"] is None
    assert 0 < found["seconds_of_a_call"] < 60
    assert 10 < found["bytes_of_a_stored_step"] < 12_288  # of a frame, compressed


def test_processes_that_step_environments_are_compared_with_none(
    cluster: ClusterConfig, monkeypatch: pytest.MonkeyPatch
):
    call, steps = InProcesses.call, Counter()

    def counted(self: InProcesses, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        steps[method] += len(arguments)
        return call(self, method, arguments)

    monkeypatch.setattr(InProcesses, "call", counted)
    collection = DEBUG.collection.model_copy(update={"envs_per_collector": 2})
    config = DEBUG.model_copy(update={"collection": collection})
    found = measure(config, num_collectors=1, env_processes=2, steps=30, repeats=1)
    assert found["speedup_by_env_processes"] > 0
    assert steps["step"] == 2 * 30  # of the bare loop alone, which warms up once; the third steps without
