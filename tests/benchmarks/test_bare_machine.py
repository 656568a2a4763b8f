"""The benchmarks of the learner run where nothing but torch, numpy and pydantic is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MISSING = (
    *("ale_py", "crafter", "gymnasium", "imageio", "matplotlib", "PIL", "pyarrow", "ray", "rich", "safetensors"),
    *("tensorboard", "torchvision"),
)
BARE = f"""
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
importlib.import_module(sys.argv[1]).main(sys.argv[2:])
"""
PROMISED = {
    "learner_step": {"parts", "sample"},
    "imagination": {"imagination", "gradient_step", "imagined_step", "columns"},
    "iteration": {"environment", "phases", "run"},
}
EVERYWHERE = {"question", "command", "hardware", "settings", "ceiling_gflops", "workload"}
PHASES = {"tokenizer", "world_model", "actor_critic", "fill_tokens", "fill_reconstructions", "collect", "publish"}


@pytest.mark.parametrize("name", PROMISED)
def test_a_benchmark_of_the_learner_needs_only_torch_numpy_and_pydantic(name: str, tmp_path: Path):
    steps = "--steps 1" if name == "iteration" else "--repeats 1"
    answer = _answer(name, f"--preset debug --frames 30 {steps}", tmp_path)
    assert answer.keys() >= PROMISED[name] | EVERYWHERE
    assert answer["ceiling_gflops"].keys() == {"float32", "bfloat16"}


def test_a_bare_machine_plays_a_synthetic_game_and_says_what_it_could_not_measure(tmp_path: Path):
    answer = _answer("iteration", "--preset atari-demo --frames 30 --steps 1", tmp_path)
    assert answer["environment"] == "synthetic"
    assert answer["phases"]["commit"] == "not measured: safetensors is not installed"
    assert answer["run"]["left_out"] == ["evaluation", "commit"]
    assert answer["run"]["extrapolated_hours"].keys() == PHASES


def _answer(name: str, line: str, folder: Path) -> dict[str, Any]:
    """What the benchmark writes to --out; it must print the same."""
    out = folder / "answer.json"
    command = [sys.executable, "-c", BARE, f"benchmarks.{name}", *line.split(), "--device", "cpu", "--out", str(out)]
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}  # spinning threads would slow other tests' processes down
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == out.read_text()
    return json.loads(done.stdout)
