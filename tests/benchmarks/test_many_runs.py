"""Runs that share a device: what is measured, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import many_runs
from benchmarks.workload import PARTS


@pytest.mark.slow
def test_each_of_several_processes_is_measured_while_the_others_work(tmp_path: Path):
    out = tmp_path / "out.json"
    many_runs.main(
        ["--preset", "debug", "--runs", "2", "--frames", "40", "--steps", "1", "--device", "cpu", "--out", str(out)]
    )
    (row,) = json.loads(out.read_text())["rows"]
    seconds = row["seconds_per_gradient_step"]
    assert seconds.keys() == set(PARTS)
    assert min(seconds.values()) > 0
    assert row["memory_gb"] > 0.1  # two processes with torch
    hours = sum(3 * 2 * each for each in seconds.values()) / 3600  # three iterations of two steps of each part
    assert row["hours_of_gradient_steps_per_run"] == pytest.approx(hours, rel=1e-2)
    assert row["runs_per_device_hour"] == pytest.approx(2 / hours, rel=1e-2)
