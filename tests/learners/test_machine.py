"""How much memory there is, is what the tightest control group around this process says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from learners import machine

ALL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
V2 = "0::/jobs/job-7/step\n"
V1 = "5:devices:/jobs\n4:cpu,memory:/jobs/job-7/step\n0::/\n"


@pytest.mark.parametrize(
    ("own", "limits", "found"),
    [
        (V2, {}, ALL),
        (V2, {"memory.max": "8000000"}, 8_000_000),
        (V2, {"jobs/job-7/step/memory.max": "5000000"}, 5_000_000),
        (V2, {"memory.max": "max", "jobs/job-7/memory.max": "6000000", "jobs/memory.max": "7000000"}, 6_000_000),
        (V2, {"elsewhere/memory.max": "1", "jobs/memory/memory.limit_in_bytes": "1"}, ALL),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, ALL),
        (V1, {"memory/memory.limit_in_bytes": "8000000"}, 8_000_000),
        (V1, {"memory/jobs/job-7/memory.limit_in_bytes": "4000000"}, 4_000_000),
        (V1, {"memory/jobs/job-7/step/memory.limit_in_bytes": "no number"}, ALL),
        ("0::/../../outside\n", {"memory.max": "3000000"}, 3_000_000),
        ("nonsense\n", {"memory.max": "3000000"}, 3_000_000),
        (None, {"memory.max": "3000000"}, 3_000_000),
    ],
)
def test_the_tightest_limit_counts(
    own: str | None, limits: dict[str, str], found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    groups = tmp_path / "groups"
    for name, limit in limits.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{limit}\n")
    if own is not None:
        (tmp_path / "own").write_text(own)
    monkeypatch.setattr(machine, "CONTROL_GROUPS", groups)
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    assert machine.total_memory() == found
