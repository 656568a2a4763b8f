"""A run whose commits are gone is never taken for one that is intact, or for one that never began."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from actors.damage import Damage, DamagedExperienceError
from pipeline import evaluate, sweep, train, verify
from pipeline.cli import parse
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.report.__main__ import main as report
from tests.faults.fakes import FakeLearner
from tests.faults.local import Crash, failing_disk, play_locally

FLAGS = (
    *("--iterations", "4", "--inspect-every", "1", "--evaluation.every", "1", "--evaluation.num-evaluators", "2"),
    *("--evaluation.episodes", "4", "--evaluation.final-episodes", "4", "--collection.num-collectors", "2"),
)
OVERLAPPED = ("--schedule", "overlapped")
COMMANDS: dict[str, Callable[[Path], int]] = {
    "train": lambda run: train.main(["debug", *FLAGS, "--run-dir", str(run)]),
    "verify": lambda run: verify.main([str(run)]),
    "evaluate": lambda run: evaluate.main([str(run)]),
    "report": lambda run: report([str(run), "--out", str(run.parent / "report")]),
}


def config_of(*flags: str) -> RunConfig:
    return parse(["debug", *flags], "test").config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run."""
    play_locally(tmp_path / "run", config_of(*FLAGS))
    return tmp_path / "run"


def content(path: Path) -> dict[str, bytes | None]:
    return {str(each): each.read_bytes() if each.is_file() else None for each in path.rglob("*")}


def refusal(command: Callable[[Path], int], run: Path) -> str:
    before = content(run)
    with pytest.raises(UsageError) as refused:
        command(run)
    assert content(run) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


def gone(checkpoints: Path) -> None: ...


def emptied(checkpoints: Path) -> None:
    checkpoints.mkdir()


def replaced(checkpoints: Path) -> None:
    checkpoints.write_text("")


def dangling(checkpoints: Path) -> None:
    checkpoints.symlink_to("/not-mounted/checkpoints")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("instead", "words"),
    [
        (gone, "no checkpoints/"),
        (emptied, "no commit in checkpoints/"),
        (replaced, "checkpoints is not a directory"),
        (dangling, "checkpoints is a link to nothing"),
    ],
    ids=["gone", "empty", "file", "dangling link"],
)
def test_every_command_stops_where_the_commits_are_gone(run: Path, instead, words: str, command):
    shutil.rmtree(run / "checkpoints")
    instead(run / "checkpoints")
    traces = (
        "committed.txt and scores.json and metrics.jsonl of more than 1 iterations and steps of iteration 4 in replay/"
    )
    assert refusal(command, run).startswith(f"{run}: found {traces}, but {words}; expected the run's commits: ")


def unmarked(run: Path) -> None:
    (run / "committed.txt").unlink()


@pytest.mark.parametrize(
    ("left", "found"),
    [
        (["committed.txt"], "committed.txt"),
        (["scores.json"], "scores.json"),
        (["metrics.jsonl"], "metrics.jsonl of more than 1 iterations"),
        (["replay"], "steps of iteration 4 in replay/"),
    ],
)
def test_any_one_trace_of_a_commit_is_enough(run: Path, left: list[str], found: str):
    for path in list(run.iterdir()):
        if path.name not in ("config.json", *left):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for command in (COMMANDS["train"], COMMANDS["verify"]):
        assert refusal(command, run).startswith(f"{run}: found {found}, but no checkpoints/; ")


def crashed_before_the_first_commit(path: Path, config: RunConfig) -> Path:
    """Killed at the last call of the disk before the first commit would have been one."""
    for call in range(10**6):
        shutil.rmtree(path, ignore_errors=True)
        with pytest.raises(Crash), failing_disk(call) as calls:
            play_locally(path, config)
        if calls[-1].startswith("rename 00000"):
            return path
    raise AssertionError


@pytest.mark.parametrize(
    "flags",
    [FLAGS, (*FLAGS, "--checkpoint.every", "3"), (*FLAGS, "--checkpoint.every", "9"), (*FLAGS, *OVERLAPPED)],
    ids=["every", "every third", "after the last", "overlapped"],
)
def test_a_run_killed_before_its_first_commit_starts_afresh(tmp_path: Path, flags: tuple[str, ...]):
    config = config_of(*flags)
    undisturbed = play_locally(tmp_path / "undisturbed", config)
    path = crashed_before_the_first_commit(tmp_path / "run", config)
    assert (path / "metrics.jsonl").read_bytes().count(b"\n") == min(config.checkpoint.every, config.iterations)
    assert verify.main([str(path)]) == 0
    assert play_locally(path, config) == undisturbed


@pytest.mark.parametrize("flags", [("--checkpoint.every", "1"), ("--iterations", "2")])
def test_a_first_commit_that_is_due_earlier_from_now_on_is_no_lost_commit(tmp_path: Path, flags: tuple[str, ...]):
    path = crashed_before_the_first_commit(tmp_path / "run", config_of(*FLAGS, "--checkpoint.every", "3"))
    config = with_flags(*flags)
    for call in range(0, 40, 3):  # killed at its start, too, wherever
        with suppress(Crash), failing_disk(call):
            play_locally(path, config)
    assert play_locally(path, config) == play_locally(tmp_path / "undisturbed", config)


def with_flags(*flags: str) -> RunConfig:
    """FLAGS with one of them changed or added."""
    given = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True)) | dict(zip(flags[::2], flags[1::2], strict=True))
    return config_of(*(each for pair in given.items() for each in pair))


def test_commits_of_another_configuration_are_refused_where_config_json_is_gone(run: Path):
    (run / "config.json").unlink()
    for other in (lambda: None, lambda: (run / "config.json").symlink_to("/nowhere/config.json")):
        other()
        with pytest.raises(UsageError) as refused:
            train.main(["debug", *FLAGS, "--seed", "5", "--run-dir", str(run)])
        assert "\n" not in str(refused.value)


def test_the_mark_comes_back_beside_a_commit_that_has_none(run: Path):
    unmarked(run)
    assert verify.main([str(run)]) == 0
    assert not (run / "committed.txt").exists()
    assert COMMANDS["train"](run) == 0
    assert (run / "committed.txt").exists()


def test_the_mark_comes_back_as_soon_as_the_run_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch):
    unmarked(run)
    monkeypatch.setattr(FakeLearner, "train", lambda *_: (_ for _ in ()).throw(Crash))
    with pytest.raises(Crash):
        play_locally(run, config_of(*FLAGS).model_copy(update={"iterations": 5}))
    assert (run / "committed.txt").exists()


def test_commits_that_vanish_while_the_run_works_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train_as_ever = FakeLearner.train

    def lose(learner: FakeLearner, part: str, iteration: int, steps: range) -> dict[str, float]:
        if iteration == 3:
            shutil.rmtree(tmp_path / "run" / "checkpoints")
            raise DamagedExperienceError(Damage(None, "as an excuse to go back"))
        return train_as_ever(learner, part, iteration, steps)

    monkeypatch.setattr(FakeLearner, "train", lose)
    with pytest.raises(UsageError, match=r"found committed\.txt .*, but no checkpoints/; expected the run's commits"):
        play_locally(tmp_path / "run", config_of(*FLAGS))


def test_a_sweep_shows_the_run_that_lost_its_commits_and_submits_it_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    manifest = tmp_path / "test.toml"
    lines = [f'root = "{tmp_path}"', 'presets = ["debug"]', f"flags = {list(FLAGS)}".replace("'", '"')]
    manifest.write_text("\n".join(lines))
    run = tmp_path / "debug-catch-seed0"
    play_locally(run, config_of(*FLAGS))
    shutil.rmtree(run / "checkpoints")
    before = content(tmp_path)
    assert sweep.main(["status", str(manifest), "--dry-run"]) == 0
    assert "debug-catch-seed0                        " + f"{run}: found committed.txt" in capsys.readouterr().out
    assert content(tmp_path) == before
