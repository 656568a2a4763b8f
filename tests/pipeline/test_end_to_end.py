"""Whole runs, as a person starts them: complete, killed, stopped, damaged, resumed; the same to the last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer
from typing import Self

import pytest
from safetensors.torch import load_file

from actors.config import CatchConfig
from actors.evaluator import Evaluator
from actors.reports import EpisodeScore
from pipeline import evaluate
from pipeline.checkpoint import Checkpoints
from pipeline.cli import parse
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.records import read_records
from pipeline.verify import main as verify_main

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300
"""A whole debug run takes ten seconds on two quiet cores."""
RUN = ["debug", "--iterations", "4"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}


class Train:
    """`python -m pipeline.train` as a process of a group of its own; stderr and stdout are one."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.train", *arguments],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
            self.wait()

    def read_until(self, words: str) -> None:
        """Reads its output up to a line with these words."""
        assert self._process.stdout is not None
        watchdog = Timer(PATIENCE_S, self.kill)
        watchdog.start()
        for line in self._process.stdout:
            self.output += line
            if words in line:
                watchdog.cancel()
                return
        watchdog.cancel()
        pytest.fail(f"found no line with {words!r} in:\n{self.output}")

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        """As the kernel does when memory runs out, and its whole group with it."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Reads the rest of its output; the exit code."""
        rest, _ = self._process.communicate(timeout=PATIENCE_S)
        self.output += rest
        return self._process.returncode


def run_module(module: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S)


def digest(path: Path) -> str:
    """What `python -m pipeline.verify --digest` prints of a run in which nothing is wrong."""
    done = run_module("pipeline.verify", str(path), "--digest")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  digest "))
    return line.split()[1]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nothing happened to."""
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    with Train([*RUN, "--run-dir", str(path)]) as train:
        assert train.wait() == 0, train.output
    (path.parent / "output.txt").write_text(train.output)
    return path


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    """Of that directory, to be damaged."""
    return Path(shutil.copytree(undisturbed, tmp_path / "copy"))


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_leaves_what_it_promises(undisturbed: Path):
    config = parse(RUN, "train").config
    assert RunConfig.model_validate_json((undisturbed / "config.json").read_bytes()) == config
    assert {path.name for path in undisturbed.iterdir()} == {
        *(".lock", "README.txt", "config.json", "metrics.jsonl", "timings.jsonl", "scores.json", "committed.txt"),
        *("checkpoints", "media", "replay", "tensorboard"),
    }
    records = read_records(undisturbed / "metrics.jsonl")
    assert [(record["iteration"], record["steps"]) for record in records] == [(1, 20), (2, 40), (3, 60), (4, 80)]
    for part in config.trainings:
        assert all(f"{part}/loss" in record for record in records)
    assert [record.get("evaluation/episodes") for record in records] == [None, 2, None, 3]
    assert len(read_records(undisturbed / "timings.jsonl")) == 4
    scores = json.loads((undisturbed / "scores.json").read_text())
    assert (scores["game"], scores["seed"], scores["iterations"], scores["steps"]) == ("catch", 0, 4, 80)
    assert len(scores["episodes"]) == 3
    assert scores["score_mean"] == records[-1]["evaluation/score_mean"]
    assert {path.name for path in (undisturbed / "media").iterdir()} == {
        "curves.png",
        *(f"episode-000{iteration}.gif" for iteration in (2, 4)),
        *(f"imagination-000{iteration}.{kind}" for iteration in (2, 4) for kind in ("png", "gif")),
        *(f"{kind}-000{iteration}.png" for kind in ("observations", "measurements") for iteration in (2, 4)),
    }
    measured = {
        "held_out/tokenizer/pixel_error",
        "held_out/tokenizer/codebook_entropy",
        "held_out/world_model/token_accuracy",
        "held_out/world_model/reward_accuracy",
        "held_out/world_model/end_accuracy",
        "dream/pixel_error_1",
        "value/predicted_mean",
        "value/realised_mean",
    }
    assert [len(measured & set(record)) for record in records] == [0, len(measured), 0, len(measured)]
    assert sorted(path.name for path in (undisturbed / "checkpoints").iterdir()) == ["000002", "000003", "000004"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_that_is_whole_verifies_with_exactly_the_planned_steps(undisturbed: Path):
    done = run_module("pipeline.verify", str(undisturbed))
    assert done.returncode == 0
    assert "80 found, 80 planned" in done.stdout
    assert "checksums      all hold" in done.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_the_same_command_again_prints_the_result_and_starts_nothing(undisturbed: Path):
    before = content(undisturbed)
    again = run_module("pipeline.train", *RUN, "--run-dir", str(undisturbed))
    first = (undisturbed.parent / "output.txt").read_text()
    assert (again.returncode, again.stderr) == (0, "")
    assert "learner on" in first
    assert "learner on" not in again.stdout
    assert again.stdout.startswith("catch, seed 0: score ")
    assert first.endswith(again.stdout)
    assert content(undisturbed) == before


@pytest.mark.ray
@pytest.mark.slow
def test_a_finished_run_cannot_shrink(undisturbed: Path):
    done = run_module("pipeline.train", "debug", "--iterations", "3", "--run-dir", str(undisturbed))
    progress = f"iteration 4 of 4 is committed in {undisturbed}"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --iterations: found 3, expected at least 4: {progress}\n"


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_that_was_killed_stopped_and_damaged_ends_as_one_that_nothing_happened_to(
    undisturbed: Path, tmp_path: Path
):
    path = tmp_path / "run"
    line = [*RUN, "--run-dir", str(path)]

    with Train(line) as killed:
        killed.read_until("iteration 2/4 |")
        killed.kill()
        assert killed.wait() == -signal.SIGKILL

    with Train(line) as stopped:
        stopped.read_until("iteration 3/4 |")
        stopped.terminate()
        assert stopped.wait() == 143
    assert "resuming after iteration 2 (40 steps)" in stopped.output
    last = Checkpoints(path / "checkpoints", keep=3).iterations()[-1]
    words = f"stopped by SIGTERM: iteration {last} is the last commit; the same command resumes there"
    assert stopped.output.splitlines()[-1] == words

    flip(path / "checkpoints" / f"{last:06d}" / "tokenizer.safetensors")
    with Train(line) as resumed:
        assert resumed.wait() == 0
    assert f"passed over: checkpoint {last:06d}: tokenizer.safetensors is damaged" in resumed.output
    assert f"resuming after iteration {last - 1} ({20 * (last - 1)} steps)" in resumed.output

    assert digest(path) == digest(undisturbed)
    for name in ("config.json", "metrics.jsonl", "scores.json"):
        assert (path / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.ray
@pytest.mark.slow
def test_another_seed_is_another_run_and_while_it_runs_nobody_else_may_start_it(undisturbed: Path, tmp_path: Path):
    path = tmp_path / "run"
    line = [*RUN, "--seed", "1", "--run-dir", str(path)]
    with Train(line) as first:
        first.read_until("run directory")
        second = run_module("pipeline.train", *line)
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr == f"error: run directory {path} is in use by another process\n"
        assert first.wait() == 0
    assert digest(path) != digest(undisturbed)


DAMAGED = {
    "checkpoints/000002/actor_critic.safetensors": ["checkpoint 000002: ", "actor_critic.safetensors"],
    "checkpoints/000003/collector-0.state": ["checkpoint 000003: ", "collector-0.state"],
    "checkpoints/000004/state.json": ["checkpoint 000004: "],
    "replay/000003/0000-0000-*": ["replay store: 000003/0000-0000-", "missing: 20 steps of iteration 3, collector 0"],
    "replay/000004/index-*": ["replay store: 000004/index-"],
}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["flipped", "missing"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_to_a_file_is_found(
    copy: Path, name: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
):
    (file,) = copy.glob(name)
    damage(file)
    assert verify_main([str(copy), "--digest"]) == 1
    shown = capsys.readouterr().out
    faults = [line for line in shown.splitlines() if line.startswith("  DAMAGED ")]
    assert [fault for fault in faults if all(words in fault for words in DAMAGED[name])] == faults[:1]
    assert "digest" not in shown


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.jsonl", "scores.json"])
def test_a_file_that_the_last_commit_knows_better_is_found_and_put_right(
    undisturbed: Path, copy: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:9] + b"?" + whole[10:-1])
    assert verify_main([str(copy)]) == 1
    fault = f"  DAMAGED        {name}: found {len(whole) - 1} bytes that differ from checkpoint 000004 at 9"
    assert fault in capsys.readouterr().out.splitlines()
    assert run_module("pipeline.train", *RUN, "--run-dir", str(copy)).returncode == 0
    assert (copy / name).read_bytes() == whole


@pytest.mark.ray
@pytest.mark.slow
def test_an_evaluation_of_a_finished_run_gives_its_scores_again(copy: Path):
    """Played by two processes, where the run had one; nothing else in its directory changes."""
    before = content(copy)
    done = run_module("pipeline.evaluate", str(copy), "--protocol", "run", "--evaluators", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("catch, seed 0: score ")
    assert content(copy) == before | {"evaluation.json": before["scores.json"]}
    assert verify_main([str(copy)]) == 0


@pytest.mark.ray
@pytest.mark.slow
def test_an_evaluation_is_of_the_newest_intact_checkpoint_and_says_so(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    flip(copy / "checkpoints" / "000004" / "world_model.safetensors")
    monkeypatch.setattr(Evaluator, "play", lambda *_, **__: ([EpisodeScore(0, 2.0, 9)], None))
    assert evaluate.main([str(copy), "--episodes", "1", "--in-process"]) == 0
    printed = capsys.readouterr().out
    assert "passed over: checkpoint 000004: world_model.safetensors is damaged" in printed
    assert "score 2.00 ± 0.00 over 1 episodes after 3 iterations and 60 steps" in printed
    flip(copy / "checkpoints" / "000003" / "state.json")
    flip(copy / "checkpoints" / "000002" / "state.json")
    with pytest.raises(UsageError, match="no intact checkpoint among 3"):
        evaluate.main([str(copy)])


@pytest.mark.ray
@pytest.mark.slow
def test_an_evaluation_under_another_configuration_than_the_checkpoints_is_refused(copy: Path):
    """The networks would be the same, the game another."""
    config = RunConfig.model_validate_json((copy / "config.json").read_bytes())
    (copy / "config.json").write_text(config.model_copy(update={"env": CatchConfig(rows=5)}).model_dump_json())
    with pytest.raises(UsageError, match=r"config\.json: not the configuration of checkpoint 000004"):
        evaluate.main([str(copy)])


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_in_one_process_that_was_stopped_ends_as_one_under_ray(undisturbed: Path, tmp_path: Path):
    path = tmp_path / "run"
    line = [*RUN, "--run-dir", str(path), "--in-process"]
    with Train(line) as stopped:
        stopped.read_until("iteration 2/4 |")
        stopped.terminate()
        assert stopped.wait() == 143
    assert "stopped by SIGTERM: iteration 2 is the last commit" in stopped.output
    done = run_module("pipeline.train", *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert "resuming after iteration 2" in done.stdout
    assert "torch is loaded already" not in done.stdout
    assert digest(path) == digest(undisturbed)
    before = content(path)
    done = run_module("pipeline.evaluate", str(path), "--protocol", "run", "--in-process")
    assert (done.returncode, done.stderr) == (0, "")
    assert content(path) == before | {"evaluation.json": before["scores.json"]}


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_without_an_intact_checkpoint_is_not_started_afresh(copy: Path, capsys: pytest.CaptureFixture[str]):
    for path in (copy / "checkpoints").iterdir():
        flip(path / "state.json")
    assert verify_main([str(copy)]) == 1
    assert capsys.readouterr().out.count("DAMAGED") >= 3
    done = run_module("pipeline.train", *RUN, "--run-dir", str(copy))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no intact checkpoint among 3: checkpoint 000004: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.ray
@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_before_the_update(tmp_path: Path):
    """With this learning rate the first step leaves huge weights, and the second overflows."""
    path = tmp_path / "run"
    flag = "--algorithm.world-model.training.learning-rate"
    done = run_module("pipeline.train", *RUN, "--run-dir", str(path), flag, "1e30")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    where = r"error: world_model: loss is (nan|inf) in gradient step 1 of iteration 1; "
    assert re.match(where + r"its batch \(episode:first step-last step\): \d+:\d+-\d+, ", line)
    failure = path / "failures" / "0001"
    assert line.endswith(f"the weights before that step are in {failure}, iteration 0 is the last commit")
    assert (failure / "reason.txt").read_text().strip() in line
    for file in failure.glob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())
    assert {path.name for path in failure.iterdir()} == {
        "reason.txt",
        *(f"{part}.safetensors" for part in ("tokenizer", "world_model", "actor_critic")),
    }
    assert list((path / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_zero_iterations_build_the_networks_of_the_paper_and_leave_nothing(tmp_path: Path):
    line = ["iris-atari100k", "--env.game", "Pong", "--iterations", "0"]
    done = run_module("pipeline.train", *line, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["tokenizer", "4,027,523", "parameters"],
        ["world_model", "8,448,005", "parameters"],
        ["actor_critic", "3,218,983", "parameters"],
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_resources_that_no_node_has_are_one_line_and_leave_nothing(tmp_path: Path):
    path = tmp_path / "run"
    done = run_module("pipeline.train", "debug", "--run-dir", str(path), "--cluster.learner-threads", "4096")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no node is large enough: found ")
    assert line.endswith(" CPU, expected 4096 CPU on one")
    assert not path.exists()
