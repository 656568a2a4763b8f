"""A whole node dies: the run goes on on another one and ends as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.ray_processes import RayProcesses
from tests.faults.scene import play
from tests.faults.stand_ins import config_of

PATIENCE_S = 300
KILLS = 2


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_whose_nodes_are_killed_ends_as_one_that_nothing_happened_to(tmp_path: Path, processes: RayProcesses):
    undisturbed = play(tmp_path / "undisturbed", config_of(2 * KILLS + 2), processes)
    line = [sys.executable, "-m", "tests.faults.node", str(tmp_path / "disturbed"), str(KILLS)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (
        [kill["hit"] for kill in found["kills"]]
        == [kill["phase"] for kill in found["kills"]]
        == ["collect", "actor critic"]
    )
    assert all(kill["recovered_s"] is not None for kill in found["kills"])
    assert found["digest"] == undisturbed.digest
