"""Nothing but a regular file of a bounded size is read, and nothing that is no JSON is understood."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from learners.reading import open_regular, parse_json, read_file


def test_a_file_is_read_also_through_a_link(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "file") == read_file(tmp_path / "link", most=7) == b"content"
    with pytest.raises(OSError, match="it has 7 bytes, expected at most 6"):
        read_file(tmp_path / "file", most=6)
    with pytest.raises(OSError, match="it is not a regular file"):
        open_regular(tmp_path / "link", os.O_NOFOLLOW)


@pytest.mark.parametrize("what", ["pipe", "directory", "loop", "device", "socket"])
def test_anything_else_is_refused_at_once(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX) as listener:
        if what == "pipe":
            os.mkfifo(path)
        elif what == "directory":
            path.mkdir()
        elif what == "socket":
            monkeypatch.chdir(tmp_path)
            listener.bind("x")
        else:
            path.symlink_to("x" if what == "loop" else "/dev/zero")
        with pytest.raises(OSError, match="it is not a regular file"):
            read_file(path)


def test_a_file_that_is_not_there_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "found NaN, expected a finite number"),
        ("[-Infinity]", "found -Infinity, expected a finite number"),
        ("[" * 200_000 + "]" * 200_000, "nested too deep"),
        ("1" * 5000, "Exceeds the limit"),
        (b"\xff", "codec can't decode"),
        ("{", "Expecting property name"),
    ],
)
def test_what_is_no_json_is_one_line(text: str | bytes, words: str):
    with pytest.raises(ValueError, match=words) as error:
        parse_json(text)
    assert "\n" not in str(error.value)


def test_json_is_what_it_says():
    assert parse_json(b'{"a": [1, 2.5, null, true, "\xc2\xb1"]}') == {"a": [1, 2.5, None, True, "±"]}
