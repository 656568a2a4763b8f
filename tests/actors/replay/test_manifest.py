"""A manifest that was changed or lost is noticed, stops every change, and can be made anew from the files."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.replay.damage import DamagedSegmentError, Span
from actors.replay.store import ReplayStore

RUN = "catch-seed0"
FIRST = "chunk-catch-seed0-000001-0000-000000-0008.arrow"
WHOLE = (Span(1, 0, 0, 8),)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [lines[0], lines[1][:-30], *lines[2:]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0], b"", *lines[1:]],
        lambda lines: [lines[0], lines[1], lines[1], *lines[2:]],
        lambda lines: [lines[0][:10], *lines[1:]],
        lambda lines: lines[1:],
        lambda lines: [],
        lambda lines: None,
    ],
    ids=["cut line", "lost line", "empty line", "line twice", "cut header", "no header", "empty", "gone"],
)
def test_a_damaged_manifest_is_reported_stops_every_change_and_is_rebuilt_from_the_files(
    play, contents, files_of, stored, spoil
):
    chunks = play(iterations=3)
    before = files_of(stored)
    path = stored / "manifest.jsonl"
    lines = spoil(path.read_bytes().splitlines())
    path.unlink() if lines is None else path.write_bytes(b"".join(line + b"\n" for line in lines))
    store = ReplayStore(stored, RUN)
    assert files_of(stored) == [name for name in before if name != "manifest.jsonl" or lines is not None]
    damage = store.verify()
    assert [found.file for found in damage] == ["manifest.jsonl"]
    changes = (lambda: store.append(play(iterations=4)[3]), lambda: store.truncate(1), lambda: store.seal(3))
    for change in (*changes, store.digest):
        with pytest.raises(DamagedSegmentError, match=r"^manifest.jsonl: .+; missing: "):
            change()
    store.quarantine(damage[0])
    for opened in (store, ReplayStore(stored, RUN)):
        assert opened.verify() == []
        assert contents(opened) == contents(chunks)
    assert (stored / "quarantine" / "manifest.jsonl").exists() == (lines is not None)


def test_no_flipped_byte_of_the_manifest_loses_a_chunk(contents, play, stored):
    chunks = play(iterations=3)
    path = stored / "manifest.jsonl"
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(intact), 200, replace=False):
        flipped = bytearray(intact)
        flipped[position] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        store = ReplayStore(stored, RUN)
        for damage in store.verify():
            store.quarantine(damage)
        assert contents(store) == contents(chunks), position
        assert store.verify() == []


def test_the_manifest_names_the_steps_of_a_lost_line(stored):
    _rewrite(stored, lambda lines: [*lines[:2], *lines[3:]])
    assert str(ReplayStore(stored, RUN).verify()[0]) == (
        "manifest.jsonl: line 3: found generation 3, expected 2; missing: environment 0, iterations 2, steps 0-7"
    )


def test_a_rewritten_manifest_that_lost_its_end_is_damage_and_not_a_torn_append(play, contents, stored):
    store = ReplayStore(stored, RUN)
    store.truncate(2)
    path = stored / "manifest.jsonl"
    intact = path.read_bytes()
    last_line = intact[:-1].rindex(b"\n") + 1
    for length in range(last_line, len(intact), 10):
        path.write_bytes(intact[:length])
        store = ReplayStore(stored, RUN)
        (damage,) = store.verify()
        assert damage.missing == (Span(2, 0, 0, 8),)
        store.quarantine(damage)
        assert contents(store) == contents(play(iterations=2))


def test_files_that_were_joined_already_are_not_stored_twice_by_a_rebuild(play, contents, files_of, tmp_path):
    chunks = play(iterations=3)
    store = ReplayStore(tmp_path, RUN, seal_steps=16)
    for chunk in chunks:
        store.append(chunk)
    joined = {path: path.read_bytes() for path in tmp_path.glob("chunk-*")}
    store.seal(3)
    for path, data in joined.items():
        path.write_bytes(data)
    (tmp_path / "manifest.jsonl").write_bytes(b"spoilt\n")
    store = ReplayStore(tmp_path, RUN)
    store.quarantine(store.verify()[0])
    assert contents(store) == contents(chunks)
    assert store.verify() == []


def test_a_rebuild_takes_no_file_that_is_not_what_it_says(play, contents, files_of, tmp_path):
    (chunk,) = play(iterations=1, lengths=(3,))
    store = ReplayStore(tmp_path, RUN)
    store.append(replace(chunk, frames=np.zeros((3, 3, 64, 64), np.uint8)))
    stored = contents(store)
    (path,) = tmp_path.glob("*.arrow")
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    num_refused = 0
    for position in rng.choice(len(intact), 200, replace=False):
        flipped = bytearray(intact)
        flipped[position] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        (tmp_path / "manifest.jsonl").unlink()
        store = ReplayStore(tmp_path, RUN)
        store.quarantine(store.verify()[0])
        if path.exists():
            assert contents(store) == stored, position  # a byte of padding, or of the footer
        else:
            assert contents(store) == []
            assert (tmp_path / "quarantine" / path.name).read_bytes() == flipped
            num_refused += 1
    assert num_refused > 100


def _rewrite(directory: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Changes the manifest's lines and puts their checksums right."""
    path = directory / "manifest.jsonl"
    lines = [line.rpartition(b',"crc32":')[0] for line in change(path.read_bytes().splitlines())]
    path.write_bytes(b"".join(line + b',"crc32":"%08x"}\n' % zlib.crc32(line) for line in lines))
