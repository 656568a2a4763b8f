"""The driver dies, anywhere: the same command goes on from its last commit and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from cluster.ray_processes import RayProcesses
from tests.faults.scene import play
from tests.faults.stand_ins import config_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_S = 300
ITERATIONS = 5
LIVES = [
    ("collect", 1, 0.0),  # before there is any commit
    ("commit", 2, 0.0, "write", 3),  # of a file of the checkpoint
    ("commit", 2, 0.0, "rename", 5),  # of the checkpoint itself, which is not yet a commit then
    ("commit", 2, 0.0, "fsync", 9),  # right after it, so that it is one
    ("resume", 2, 0.0),
    ("actor critic", 4, 0.01),
    ("commit", 5, 0.0, "rename", 6),  # of the oldest checkpoint, which has to go
]
"""How each life of the run ends: phase, iteration, delay, and the call of `learners/durable.py` and its count."""


def launch(path: Path, *fault: object) -> subprocess.CompletedProcess[str]:
    address = ray.get_runtime_context().gcs_address
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.launch", str(path), str(ITERATIONS), *map(str, fault)],
        env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_a_driver_that_is_killed_again_and_again_ends_as_one_that_nothing_happened_to(
    tmp_path: Path, processes: RayProcesses
):
    undisturbed = play(tmp_path / "undisturbed", config_of(ITERATIONS), processes)
    path = tmp_path / "disturbed"
    for fault in LIVES:
        killed = launch(path, *fault)
        assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
        assert killed.stdout.splitlines()[-1] == f"hit: {fault[0]}"
    done = launch(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"digest: {undisturbed.digest}"
