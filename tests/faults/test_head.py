"""The only node of a run dies, or its head: one line that names the last commit, at which the same command goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import verify
from tests.pipeline.test_end_to_end import ENVIRONMENT, ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TIMEOUT_S = 600
TRAIN = """
import sys
import cluster.lifelines
from pipeline.cli import command
from pipeline.train import main
cluster.lifelines.HEAD_PATIENCE_S = 5.0
command(lambda: main(sys.argv[1:]))
"""


def processes_below(pid: int) -> dict[str, int]:
    """Command -> id, of all its children."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found[os.path.basename((stat.parent / "cmdline").read_bytes().split(b"\0")[0].decode())] = int(
                    stat.parent.name
                )
        except OSError:
            continue
    return found


@pytest.mark.parametrize("who", ["raylet", "gcs_server"])
def test_the_death_of_the_head_is_one_line(who: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    line = [sys.executable, "-c", TRAIN, "debug", "--iterations", "1000", "--run-dir", str(run)]
    with open(tmp_path / "output", "w") as output, open(tmp_path / "error", "w") as error:
        process = subprocess.Popen(line, cwd=ROOT, env=ENVIRONMENT, stdout=output, stderr=error)
        deadline = time.monotonic() + TIMEOUT_S
        while not (run / "checkpoints" / "000002").exists():
            assert process.poll() is None, (tmp_path / "error").read_text()
            assert time.monotonic() < deadline, "it does not commit"
            time.sleep(0.1)
        os.kill(processes_below(process.pid)[who], signal.SIGKILL)
        code = process.wait(TIMEOUT_S)
    said = (tmp_path / "error").read_text()
    assert code == 1, said
    (last,) = re.findall(r"^error: .*; iteration (\d+) is the last commit; the same command resumes there$", said, re.M)
    assert "Traceback" not in said
    assert int(last) >= 2
    assert verify.main([str(run)]) == 0
    assert f"last commit    iteration {int(last)} of 1000" in capsys.readouterr().out
