"""A commit is there as a whole or not at all, and damage to it is never overlooked."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import pytest

from learners import durable
from pipeline import checkpoint as checkpoint_module
from pipeline.checkpoint import STATE_FILE, Checkpoints, State, load
from pipeline.errors import UsageError
from pipeline.run_dir import METRICS_FILE

FILES = ("collector-0.state", "tokenizer.safetensors")


class DiskError(OSError):
    """What a full or dying disk raises."""


class Disk:
    """Stands in for the system under `learners.durable`; the call number `fails_at` (from 0) fails."""

    def __init__(self, fails_at: int) -> None:
        self._fails_at = fails_at
        self.calls = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("write", "fsync", "rename"):
            patch.setattr(durable, name, getattr(self, name))

    def write(self, file: BinaryIO, data: bytes) -> None:
        file.write(data[: len(data) // 2])
        self._count()
        file.write(data[len(data) // 2 :])
        file.flush()

    def fsync(self, descriptor: int) -> None:
        self._count()

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        source.replace(target)

    def _count(self) -> None:
        self.calls += 1
        if self.calls > self._fails_at:  # once the disk has failed it stays dead
            raise DiskError(f"call {self._fails_at} fails")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


def content(iteration: int, name: str) -> bytes:
    return f"{name} of iteration {iteration}".encode()


def commit(directory: Path, iteration: int, *, keep: int = 3, hashes: dict[str, str] | None = None) -> None:
    """What the driver and the learner do together."""
    checkpoints = Checkpoints(directory, keep)
    prepared = checkpoints.prepare(iteration)
    for name in FILES:
        durable.write_durably(prepared / name, content(iteration, name))
    written = {name: sha256(content(iteration, name)).hexdigest() for name in FILES}
    state = State(
        iteration=iteration,
        iterations=2_000_000,
        steps=20 * iteration,
        identity="of this run",
        evaluation=[(1.5, 9)],
        machine={"threads": 2, "cpu": "one"},
    )
    checkpoints.commit(prepared, state, {**written, **(hashes or {})})


def newest_iteration(directory: Path) -> int:
    """Of the newest checkpoint, whose content must be that iteration's; 0 without any."""
    checkpoint = Checkpoints(directory, keep=3).newest()
    if checkpoint is None:
        return 0
    assert checkpoint.state.steps == 20 * checkpoint.iteration
    assert {name: checkpoint.read(name) for name in FILES} == {
        name: content(checkpoint.iteration, name) for name in FILES
    }
    return checkpoint.iteration


def test_without_a_commit_there_is_no_newest_checkpoint(directory: Path):
    assert Checkpoints(directory, keep=3).newest() is None
    assert Checkpoints(directory / "missing", keep=3).iterations() == []


def test_the_newest_checkpoint_is_the_last_commit(directory: Path):
    for iteration in (1, 2, 3):
        commit(directory, iteration)
        assert newest_iteration(directory) == iteration


def test_the_newest_checkpoint_is_the_highest_number_not_the_last_name(directory: Path):
    commit(directory, 999_999)
    commit(directory, 1_000_000)
    assert newest_iteration(directory) == 1_000_000


def test_the_oldest_checkpoints_go_first(directory: Path):
    kept = []
    for iteration in range(1, 6):
        commit(directory, iteration, keep=2)
        kept.append(Checkpoints(directory, keep=2).iterations())
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [4, 5]]
    assert sorted(path.name for path in directory.iterdir()) == ["000004", "000005"]


def test_what_was_prepared_and_not_committed_is_ignored_and_then_removed(directory: Path):
    commit(directory, 1)
    abandoned = Checkpoints(directory, keep=3).prepare(2)
    (abandoned / FILES[0]).write_bytes(b"half")
    assert newest_iteration(directory) == 1
    assert list(Checkpoints(directory, keep=3).prepare(2).iterdir()) == []
    commit(directory, 2)
    Checkpoints(directory, keep=3).clean()
    assert sorted(path.name for path in directory.iterdir()) == ["000001", "000002"]


def test_what_is_no_checkpoint_is_left_alone(directory: Path):
    commit(directory, 1)
    shutil.copytree(directory / "000001", directory / "000001.backup")
    (directory / "000007").write_text("a file")
    commit(directory, 2, keep=1)
    assert sorted(path.name for path in directory.iterdir()) == ["000001.backup", "000002", "000007"]
    assert newest_iteration(directory) == 2


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _edit_state(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('"steps": 40', '"steps": 60'))
    assert path.read_text() != text


def _forge(path: Path, key: str, value: object) -> None:
    """Its checksum is right."""
    state = {**json.loads(path.read_text())["state"], key: value}
    path.write_bytes(checkpoint_module._seal(state))


def _vouch(path: Path, name: str, content: bytes) -> None:
    """Another content of a file, and its hash."""
    (path / name).write_bytes(content)
    files = json.loads((path / STATE_FILE).read_text())["state"]["files"]
    _forge(path / STATE_FILE, "files", {**files, name: sha256(content).hexdigest()})


DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"a flipped bit in {name}": lambda path, name=name: _flip(path / name) for name in (*FILES, STATE_FILE)},
    **{f"{name} is missing": lambda path, name=name: (path / name).unlink() for name in (*FILES, STATE_FILE)},
    **{f"{name} is empty": lambda path, name=name: (path / name).write_bytes(b"") for name in (*FILES, STATE_FILE)},
    "a file is a directory": lambda path: ((path / FILES[0]).unlink(), (path / FILES[0]).mkdir()),
    "state.json is cut": lambda path: (path / STATE_FILE).write_bytes((path / STATE_FILE).read_bytes()[:-9]),
    "state.json is edited": lambda path: _edit_state(path / STATE_FILE),
    "the last iteration has no score": lambda path: (
        _forge(path / STATE_FILE, "iterations", 2),
        _forge(path / STATE_FILE, "evaluation", []),
    ),
    "state.json is nested deep": lambda path: (path / STATE_FILE).write_text("[" * 100_000 + "]" * 100_000),
    "state.json is a pipe": lambda path: ((path / STATE_FILE).unlink(), os.mkfifo(path / STATE_FILE)),
    "a file is a link to a device": lambda path: (
        (path / FILES[0]).unlink(),
        (path / FILES[0]).symlink_to("/dev/zero"),
    ),
    "metrics are no objects": lambda path: _vouch(path, METRICS_FILE, b"[1]\n"),
    "state.json is a list": lambda path: (path / STATE_FILE).write_text("[]"),
    "state.json is an empty object": lambda path: (path / STATE_FILE).write_text("{}"),
    "state.json is not text": lambda path: (path / STATE_FILE).write_bytes(b"\xff\xfe\x00"),
    "state.json holds no state": lambda path: (path / STATE_FILE).write_text(
        json.dumps({"sha256": sha256(b"3").hexdigest(), "state": 3})
    ),
    **{
        f"state.json says {key} is {value!r}": lambda path, key=key, value=value: _forge(path / STATE_FILE, key, value)
        for key, value in (
            ("iteration", 1),
            ("iteration", -2),
            ("iterations", "many"),
            ("steps", 1e300),
            ("evaluation", [["one", 9]]),
            ("evaluation", [[float("nan"), 9]]),
            ("evaluation", [[float("inf"), 9]]),
            ("evaluation", [[1.0, -9]]),
            ("evaluation", [[]]),
            ("machine", {"cpu": {"model": []}}),
            ("files", ["tokenizer.safetensors"]),
            ("files", {"/dev/zero": "0"}),
            ("unheard_of", True),
        )
    },
    "all of it is missing": lambda path: [file.unlink() for file in path.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(directory: Path, damage: Callable[[Path], object]):
    commit(directory, 1)
    commit(directory, 2)
    damage(directory / "000002")
    assert newest_iteration(directory) == 1
    checkpoint = Checkpoints(directory, keep=3).newest()
    assert checkpoint is not None
    (reason,) = checkpoint.passed_over
    assert reason.startswith("checkpoint 000002: ")
    assert "\n" not in reason


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_if_every_checkpoint_is_damaged_a_run_does_not_start_afresh(directory: Path, damage: Callable[[Path], object]):
    commit(directory, 2)
    damage(directory / "000002")
    with pytest.raises(UsageError, match=r"^no intact checkpoint among 1: checkpoint 000002: .*$"):
        Checkpoints(directory, keep=3).newest()


def test_an_iteration_whose_checkpoint_was_damaged_can_be_committed_again(directory: Path):
    for iteration in (1, 2, 3):
        commit(directory, iteration)
    _flip(directory / "000002" / FILES[0])
    _flip(directory / "000003" / FILES[0])
    assert newest_iteration(directory) == 1
    commit(directory, 2)
    assert newest_iteration(directory) == 2
    assert [load(path).iteration for path in Checkpoints(directory, keep=3).paths()] == [1, 2]


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/file"])
def test_a_checkpoint_names_no_file_outside_of_it(directory: Path, name: str):
    (directory / "outside").write_bytes(b"outside")
    commit(directory, 1, hashes={name: sha256(b"outside").hexdigest()})
    with pytest.raises(ValueError, match="is not the name of a file in the checkpoint"):
        load(directory / "000001")


@pytest.mark.parametrize("mask", [0x01, 0x04, 0x20, 0x80])
def test_no_flipped_bit_of_the_state_goes_unseen(directory: Path, mask: int):
    commit(directory, 1)
    path = directory / "000001" / STATE_FILE
    data, state = path.read_bytes(), load(directory / "000001").state
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :])
        try:
            found = load(directory / "000001").state
        except ValueError:
            continue
        assert found == state  # it hit white space between the values


def test_a_commit_that_any_disk_call_interrupts_is_there_as_a_whole_or_not_at_all(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    outcomes = []
    for fails_at in itertools.count():
        shutil.rmtree(directory)
        directory.mkdir()
        commit(directory, 1, keep=2)
        commit(directory, 2, keep=2)
        disk = Disk(fails_at)
        with monkeypatch.context() as patch:
            disk.install(patch)
            try:
                commit(directory, 3, keep=2)
            except DiskError:
                outcomes.append(newest_iteration(directory))
            else:
                break
        assert all(load(path) for path in Checkpoints(directory, keep=2).paths())
        commit(directory, outcomes[-1] + 1, keep=2)
        Checkpoints(directory, keep=2).clean()
        assert Checkpoints(directory, keep=2).iterations() == [outcomes[-1], outcomes[-1] + 1]
        assert len(list(directory.iterdir())) == 2
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {2, 3}
    assert len(outcomes) >= 4 * len(FILES)


def test_a_crash_while_an_old_checkpoint_is_deleted_leaves_no_half_of_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    def delete_one_file(path: Path) -> None:
        next(path.iterdir()).unlink()
        raise DiskError("the rest stays")

    for iteration in (1, 2):
        commit(directory, iteration)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", delete_one_file)
        with pytest.raises(DiskError):
            commit(directory, 3, keep=2)
    assert [load(path).iteration for path in Checkpoints(directory, keep=2).paths()] == [2, 3]
    commit(directory, 4, keep=2)
    Checkpoints(directory, keep=2).clean()
    assert sorted(path.name for path in directory.iterdir()) == ["000003", "000004"]
