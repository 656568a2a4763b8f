"""Which commit a result names."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.hardware import commit_of


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("code.py", "benchmarks/results/rows.json", "docs/images/curve.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("old")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_benchmark_that_writes_its_results_does_not_make_the_next_ones_dirty(checkout: Path):
    before = commit_of(checkout / "benchmarks")
    assert len(before) == 12
    (checkout / "benchmarks/results/rows.json").write_text("new")
    (checkout / "docs/images/curve.png").write_text("new")
    assert commit_of(checkout / "benchmarks") == before


@pytest.mark.parametrize("name", ["code.py", "benchmarks/new.py"])
def test_any_other_change_does(checkout: Path, name: str):
    before = commit_of(checkout)
    (checkout / name).write_text("new")
    assert commit_of(checkout / "benchmarks") == f"{before}-dirty"


def test_without_a_repository_it_is_unknown(tmp_path: Path):
    assert commit_of(tmp_path) == "unknown"
