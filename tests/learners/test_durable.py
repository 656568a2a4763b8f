"""Durable writes touch the file they name and no other, and leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from learners import durable
from learners.durable import append_durably, unfinished, write_durably


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("do not touch")
    return path


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path, victim: Path):
    path = tmp_path / "scores.json"
    path.symlink_to(victim)
    write_durably(path, b"new")
    assert (path.read_bytes(), path.is_symlink(), victim.read_text()) == (b"new", False, "do not touch")


def test_a_link_in_the_place_of_a_temporary_file_stops_the_write(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
):
    """Even if somebody could foresee its name."""
    monkeypatch.setattr(durable, "token_hex", lambda size: "0" * 2 * size)
    temporary = tmp_path / f"scores.json.{'0' * 16}.tmp"
    temporary.symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "scores.json", b"new")
    assert victim.read_text() == "do not touch"
    assert not (tmp_path / "scores.json").exists()


def test_no_two_temporary_names_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = []

    def write(file: BinaryIO, data: bytes) -> None:
        names.append(Path(file.name).name)

    monkeypatch.setattr(durable, "write", write)
    for _ in range(3):
        write_durably(tmp_path / "scores.json", b"")
    assert len(set(names)) == 3
    assert os.listdir(tmp_path) == ["scores.json"]


def test_what_grows_is_no_link(tmp_path: Path, victim: Path):
    (tmp_path / "metrics.jsonl").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        append_durably(tmp_path / "metrics.jsonl", b"new")
    assert victim.read_text() == "do not touch"


def test_a_write_that_fails_leaves_nothing_and_one_that_was_killed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException): ...

    def strike(error: BaseException) -> None:
        def write(file: BinaryIO, data: bytes) -> None:
            raise error

        monkeypatch.setattr(durable, "write", write)

    strike(OSError("full"))
    with pytest.raises(OSError, match="full"):
        write_durably(tmp_path / "config.json", b"{}")
    assert os.listdir(tmp_path) == []
    strike(Killed())
    with pytest.raises(Killed):
        write_durably(tmp_path / "config.json", b"{}")
    (left,) = tmp_path.iterdir()
    (tmp_path / "notes.tmp").touch()
    (tmp_path / f"config.json.{'1' * 16}.tmp").symlink_to(left)
    assert unfinished(tmp_path, "config.json") == [left]
    assert unfinished(tmp_path, "scores.json") == []
