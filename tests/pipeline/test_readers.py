"""Who only reads a run changes nothing in it, needs no permission to, and takes no run in use for a damaged one."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest

from pipeline import sweep, verify
from pipeline.errors import RunFailedError, UsageError
from pipeline.media import save_curves
from pipeline.report.__main__ import main as report
from tests.faults.fakes import FakeLearner
from tests.faults.local import Crash, failing_disk, local_config, play_locally

CONFIG = local_config(4)
_read_only: list[str] = []  # directories that this process may not change
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """As a file system does that is mounted to be read; permissions do not hold root back."""
    if _read_only and (event in _CHANGES or (event == "open" and arguments[2] and arguments[2] & _WRITING)):
        paths = [os.fspath(path) for path in arguments[:2] if isinstance(path, str | os.PathLike)]
        if any(str(path).startswith(directory) for path in paths for directory in _read_only):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))


sys.addaudithook(_guard)  # there is no way to take it away again


@pytest.fixture
def run(tmp_path: Path) -> Path:
    play_locally(tmp_path / "run", CONFIG)
    return tmp_path / "run"


@pytest.fixture
def read_only(run: Path) -> Iterator[Path]:
    """The run on media that cannot be written."""
    _read_only.append(str(run))
    with pytest.raises(OSError, match="Read-only file system"):
        (run / "new").touch()
    yield run
    _read_only.clear()


def content(path: Path) -> dict[str, bytes | None]:
    return {str(each): each.read_bytes() if each.is_file() else None for each in path.rglob("*")}


def test_a_run_on_read_only_media_is_verified(read_only: Path, capsys: pytest.CaptureFixture[str]):
    assert verify.main([str(read_only), "--digest"]) == 0
    assert "checksums      all hold" in capsys.readouterr().out


def test_a_run_on_read_only_media_is_reported(read_only: Path, tmp_path: Path):
    assert report([str(read_only), "--out", str(tmp_path / "report")]) == 0


def test_the_status_of_a_sweep_is_told_from_read_only_media(run: Path, capsys: pytest.CaptureFixture[str]):
    """As far as it is read there: what the cluster says is shown in test_sweep.py."""
    manifest = run.parent / "test.toml"
    manifest.write_text(f'root = "{run.parent}"\npresets = ["debug"]\n')
    run.rename(run.parent / "debug-catch-seed0")
    _read_only.append(str(run.parent))
    try:
        assert sweep.main(["status", str(manifest), "--dry-run"]) == 0
    finally:
        _read_only.clear()
    assert "4/3 iterations done" in capsys.readouterr().out


def left_over(replay: Path) -> None:
    """A crash before a file was named by an index, before one was whole, and an iteration that never committed."""
    (file,) = replay.glob("000001/0000-0000-*")
    shutil.copy(file, file.with_name(f"0000-0001-{'0' * 16}.safetensors"))
    (replay / "000002" / f"{file.name}.{'0' * 16}.tmp").write_bytes(b"half")
    shutil.copytree(replay / "000004", replay / "000005")


def unnamed(replay: Path) -> None:
    """An index that is told from the files it named."""
    (index,) = replay.glob("000002/index-*")
    index.unlink()


def test_what_a_crash_left_in_the_replay_store_stays_for_the_next_start(
    read_only: Path, capsys: pytest.CaptureFixture[str]
):
    _read_only.clear()
    left_over(read_only / "replay")
    before = content(read_only)
    _read_only.append(str(read_only))
    assert verify.main([str(read_only)]) == 0
    shown = capsys.readouterr().out
    assert "beyond         iteration 000005, which was not committed" in shown
    assert "left over      2 files that no commit names" in shown
    _read_only.clear()
    assert content(read_only) == before
    play_locally(read_only, local_config(5))  # and that finds nothing wrong, either
    assert not list((read_only / "replay").glob("**/*.tmp"))
    assert len(list((read_only / "replay").glob("*/0000-*"))) == 5


def test_a_damaged_index_is_told_from_its_files_without_writing(read_only: Path, capsys: pytest.CaptureFixture[str]):
    _read_only.clear()
    unnamed(read_only / "replay")
    before = content(read_only)
    _read_only.append(str(read_only))
    assert verify.main([str(read_only)]) == 1
    (fault,) = (line for line in capsys.readouterr().out.splitlines() if "DAMAGED" in line)
    assert "replay store: 000002/index-" in fault
    _read_only.clear()
    assert content(read_only) == before


def test_experience_of_another_run_is_damage_in_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    play_locally(tmp_path / "other", local_config(4, "overlapped"))
    shutil.rmtree(run / "replay")
    shutil.copytree(tmp_path / "other" / "replay", run / "replay")
    assert verify.main([str(run)]) == 1
    (fault,) = (line for line in capsys.readouterr().out.splitlines() if "replay store: 000004/index-" in line)
    assert "DAMAGED" in fault
    with pytest.raises(UsageError, match=r"^no intact checkpoint among 3: checkpoint 000004: .*$"):
        play_locally(run, local_config(5))


def test_a_run_whose_lock_file_another_writer_holds_stops_before_it_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, train = tmp_path / "run", FakeLearner.train

    def lose_the_lock(learner: FakeLearner, part: str, iteration: int, steps: range) -> dict[str, float]:
        if iteration == 3:
            (path / ".lock").unlink()
            (path / ".lock").touch()
        return train(learner, part, iteration, steps)

    monkeypatch.setattr(FakeLearner, "train", lose_the_lock)
    words = r"\.lock is another file than the one locked here.*; iteration 2 is the last commit; "
    with pytest.raises(RunFailedError, match=words):
        play_locally(path, CONFIG)
    assert sorted(each.name for each in (path / "checkpoints").glob("0*")) == ["000001", "000002"]


def test_a_start_that_was_killed_leaves_nothing_that_the_next_does_not_clear_away(tmp_path: Path):
    config = local_config(1)
    for call in range(8):
        path = tmp_path / str(call)
        with pytest.raises(Crash), failing_disk(call):
            play_locally(path, config)
        play_locally(path, config)
        assert not list(path.glob("*.tmp"))


def test_pictures_and_tensorboard_follow_no_links(run: Path, tmp_path: Path):
    (tmp_path / "victim").write_text("do not touch")
    (tmp_path / "theirs").mkdir()
    shutil.rmtree(run / "tensorboard")
    (run / "tensorboard").symlink_to(tmp_path / "theirs")
    (run / "media" / "curves.png").symlink_to(tmp_path / "victim")
    save_curves(run / "media" / "curves.png", [{"iteration": 1, "tokenizer/loss": 2.0}], ["tokenizer"])
    play_locally(run, local_config(5))
    assert (tmp_path / "victim").read_text() == "do not touch"
    assert list((tmp_path / "theirs").iterdir()) == []
    assert imageio.imread(run / "media" / "curves.png").ndim == 3
