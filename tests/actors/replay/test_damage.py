"""What is not as it was written is noticed, named and survivable; a hostile file can do no more than that."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.replay.damage import Damage, DamagedSegmentError, Span
from actors.replay.store import ReplayStore

RUN = "catch-seed0"
FIRST = "chunk-catch-seed0-000001-0000-000000-0008.arrow"
SECOND = "chunk-catch-seed0-000002-0000-000000-0008.arrow"
WHOLE = (Span(1, 0, 0, 8),)


@pytest.fixture
def stored(play, tmp_path) -> Path:
    """Three iterations of 8 steps, a file each."""
    store = ReplayStore(tmp_path / "replay", RUN)
    for chunk in play(iterations=3):
        store.append(chunk)
    return tmp_path / "replay"


@pytest.mark.parametrize("is_sealed", [False, True])
def test_every_flipped_byte_of_a_file_is_noticed(play, tmp_path, is_sealed):
    (chunk,) = play(iterations=1, lengths=(3,))
    store = ReplayStore(tmp_path, RUN, seal_steps=3)
    store.append(replace(chunk, frames=np.zeros((3, 3, 64, 64), np.uint8)))
    store.seal(int(is_sealed))
    (path,) = tmp_path.glob("*.arrow")
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(intact), 200, replace=False):
        flipped = bytearray(intact)
        flipped[position] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        assert [damage.file for damage in store.verify()] == [path.name], position
        _read_fails(ReplayStore(tmp_path, RUN), path.name)
    path.write_bytes(intact)
    assert store.verify() == []


def test_frames_that_change_after_the_file_was_opened_are_noticed(stored):
    store = ReplayStore(stored, RUN)
    digest = store.digest()
    intact = (stored / FIRST).read_bytes()
    frames = pa.ipc.open_file(stored / FIRST).read_all()["frames"][0].as_py()
    begin = intact.index(frames)
    for position in range(begin, begin + len(frames), len(frames) // 50):
        with open(stored / FIRST, "r+b") as file:
            file.seek(position)
            file.write(bytes([intact[position] ^ 1]))
        _read_fails(store, FIRST)
        with open(stored / FIRST, "r+b") as file:
            file.write(intact)
    assert store.digest() == digest


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: os.truncate(path, 100), "found 100 bytes, expected "),
        (lambda path: os.truncate(path, 0), "found 0 bytes, expected "),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "bytes, expected "),
        (lambda path: (path.unlink(), path.mkdir()), "it is not a regular file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "it is not a regular file"),
        (lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")), "it is not a regular file"),
    ],
    ids=["gone", "cut", "empty", "longer", "directory", "pipe", "link"],
)
def test_a_file_that_is_no_longer_what_it_was_is_damage(stored, change, reason, is_open):
    store = ReplayStore(stored, RUN)
    if is_open:
        store.digest()
    change(stored / FIRST)
    message = _read_fails(store, FIRST)
    assert message.startswith(f"{FIRST}: ")
    assert reason in message
    assert message.endswith("; missing: environment 0, iterations 1, steps 0-7")
    assert [(damage.file, damage.missing) for damage in store.verify()] == [(FIRST, WHOLE)]


def _claims_ten_gigabytes(table: pa.Table) -> pa.Table:
    frames = pa.array([pa.Codec("zstd").compress(bytes(10**7), asbytes=True)] * table.num_rows, pa.large_binary())
    table = _with(table, "frames", frames)
    table = _with(table, "frames_crc32", pa.array([zlib.crc32(frames[0].as_py())] * table.num_rows, pa.uint32()))
    return _with(table, "count", pa.array([850_000] * table.num_rows))


HOSTILE: dict[str, tuple[Callable[[pa.Table], pa.Table] | bytes, str]] = {
    "ten gigabytes": (_claims_ten_gigabytes, "a row claims 850000 steps, expected 1 to 20"),
    "too many frames": (
        lambda table: _with(
            table,
            "frames",
            pa.array([pa.Codec("zstd").compress(bytes(10**7), asbytes=True)] * table.num_rows, pa.large_binary()),
        ),
        "the frames of row 0 fail their CRC32",
    ),
    "bomb": (
        lambda table: _with(
            _with(table, "frames", pa.array([BOMB] * table.num_rows, pa.large_binary())),
            "frames_crc32",
            pa.array([zlib.crc32(BOMB)] * table.num_rows, pa.uint32()),
        ),
        "frames of row 0: ZSTD decompression failed: Destination buffer is too small",
    ),
    "negative count": (lambda table: _with(table, "count", pa.array([-1] * table.num_rows)), "expected 1 to 20"),
    "other steps": (lambda table: _with(table, "start", pa.array([3] * table.num_rows)), "is not what chunk (1, 0, 0,"),
    "other columns": (lambda table: table.drop_columns(["actions"]), "its columns are ["),
    "empty values": (
        lambda table: _with(table, "count", pa.array([None] * table.num_rows, pa.int64())),
        "it has empty values",
    ),
    "no rows": (lambda table: table.slice(0, 0), "it ends before its record batch"),
    "no description": (lambda table: table.replace_schema_metadata({}), "validation error"),
    "no arrow": (b"\0" * 1000, "it is not an Arrow file"),
    "magic only": (b"ARROW1\0\0" * 1000, ""),
    "magic and nothing": (b"ARROW1\0\0" + b"\xff" * 1000, ""),
}
BOMB = pa.Codec("zstd").compress(bytes(10**8), asbytes=True)


@pytest.mark.parametrize(("forgery", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_with_every_checksum_right_is_damage(stored, forgery, reason):
    if isinstance(forgery, bytes):
        data = forgery
    else:
        data = _arrow_bytes(_with_row_crc32s(forgery(pa.ipc.open_file(stored / FIRST).read_all())))
    _plant(stored, data)
    assert reason in _read_fails(ReplayStore(stored, RUN), FIRST)
    assert [damage.file for damage in ReplayStore(stored, RUN).verify()] == [FIRST]


def test_a_compressed_body_is_refused_before_it_is_inflated(stored):
    table = pa.ipc.open_file(stored / FIRST).read_all()
    frames = pa.array([bytes(10**7)] * table.num_rows, pa.large_binary())
    _plant(stored, _arrow_bytes(_with(table, "frames", frames), compression="zstd"))
    assert (stored / FIRST).stat().st_size < 10**5
    default = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(default)
    pa.set_memory_pool(pool)
    try:
        assert "it does not hold one uncompressed record batch" in _read_fails(ReplayStore(stored, RUN), FIRST)
        assert (pool.max_memory() or 0) < 10**5
    finally:
        pa.set_memory_pool(default)


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/passwd", "chunk-a/../../outside.arrow"])
def test_a_name_that_leaves_the_directory_is_damage_and_touches_nothing(stored, name):
    outside = stored.parent / "outside.arrow"
    shutil.copy(stored / FIRST, outside)
    _rewrite(stored, lambda lines: [lines[0], lines[1].replace(FIRST.encode(), name.encode()), *lines[2:]])
    store = ReplayStore(stored, RUN)
    _read_fails(store, "manifest.jsonl")
    (damage, *_) = store.verify()
    assert str(damage).startswith("manifest.jsonl: line 2: file: String should match pattern '^(chunk|segment)-")
    assert damage.missing == WHOLE
    with pytest.raises(ValueError, match="no file of this store to quarantine"):
        store.quarantine(Damage(name, "", ()))
    assert outside.exists()


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


def test_a_quarantined_file_lies_beside_its_reason_and_its_chunk_can_be_stored_again(play, contents, stored):
    chunks = play(iterations=3)
    store = ReplayStore(stored, RUN)
    damaged = (stored / SECOND).read_bytes()[:-1] + b"?"
    (stored / SECOND).write_bytes(damaged)
    (damage,) = store.verify()
    store.quarantine(damage)
    assert (stored / "quarantine" / SECOND).read_bytes() == damaged
    reason = (stored / "quarantine" / f"{SECOND}.txt").read_text()
    assert reason == (f"{SECOND}: its sha256 is not the manifest's; missing: environment 0, iterations 2, steps 0-7\n")
    assert contents(store) == contents([chunks[0], chunks[2]])
    assert [(found.file, found.missing) for found in store.verify()] == [(None, ())]
    store.quarantine(damage)
    with pytest.raises(ValueError, match="no file of this store to quarantine"):
        store.quarantine(replace(damage, file="chunk-unheard-of.arrow"))
    store.append(chunks[1])
    assert contents(ReplayStore(stored, RUN)) == contents(chunks)
    assert store.verify() == []


def test_the_damage_of_a_segment_names_all_its_steps_in_one_line(play, tmp_path):
    store = ReplayStore(tmp_path, RUN, seal_steps=60)
    for chunk in play(iterations=7, environments=2, lengths=(4, 3)):
        if chunk.iteration != 4:
            store.append(chunk)
    store.seal(7)
    (path,) = tmp_path.glob("segment-*")
    os.truncate(path, 10)
    message = _read_fails(store, path.name)
    assert message.endswith(
        "; missing: environment 0, iterations 1-3, 5, steps 0-6; environment 1, iterations 1-3, 5, steps 0-6"
        "; environment 0, iterations 6, steps 0-3"
    )
    with pytest.raises(DamagedSegmentError):
        store.truncate(2)
    store.truncate(0)
    assert store.verify() == []


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (
            lambda chunks: [chunks[0], chunks[2]],
            "iteration 1, environment 0: no file holds steps 8-12; missing: environment 0, iterations 1, steps 8-12",
        ),
        (
            lambda chunks: [chunks[1], chunks[2]],
            "iteration 1, environment 0: no file holds steps 0-7; missing: environment 0, iterations 1, steps 0-7",
        ),
        (
            lambda chunks: [*chunks[:3], *chunks[6:]],
            "iteration 3, environment 0, step 0: episode 0 step 36 follows episode 0 step 17",
        ),
        (
            lambda chunks: [*chunks[:2], replace(chunks[2], episodes=chunks[2].episodes + 1)],
            "iteration 1, environment 0, step 13: episode 1 step 13 follows episode 0 step 12",
        ),
        (
            lambda chunks: [chunks[0], replace(chunks[1], episode_steps=chunks[1].episode_steps - 1), chunks[2]],
            "iteration 1, environment 0, step 8: episode 0 step 7 follows episode 0 step 7",
        ),
        (
            lambda chunks: [replace(chunks[0], truncated=np.arange(8) == 7), *chunks[1:]],
            "iteration 1, environment 0, step 8: episode 0 step 8 follows episode 0 step 7, its end",
        ),
        (
            lambda chunks: [*chunks, replace(chunks[0], environment=5)],
            "iteration 1, environment 5, step 0: episode 0 is environment 0's already",
        ),
    ],
    ids=["gap", "no start", "lost iteration", "jump", "step twice", "after the end", "two environments"],
)
def test_steps_and_episodes_that_are_not_contiguous_are_found(play, tmp_path, pick, message):
    store = ReplayStore(tmp_path, RUN)
    for chunk in pick(play(iterations=3, lengths=(8, 5, 5), end_probability=0.0)):
        store.append(chunk)
    assert str(store.verify()[0]).removesuffix("; missing: unknown steps") == message


def test_steps_stored_twice_are_found(play, stored):
    (chunk,) = play(iterations=1, lengths=(2,), end_probability=0.0)
    other = ReplayStore(stored.parent / "other", RUN)
    other.append(chunk)
    (file,) = (stored.parent / "other").glob("*.arrow")
    shutil.copy(file, stored)
    line = (stored.parent / "other" / "manifest.jsonl").read_bytes().splitlines()[1]
    _rewrite(stored, lambda lines: [*lines, line.replace(b'"generation":1', b'"generation":4')])
    found = [str(damage) for damage in ReplayStore(stored, RUN).verify()]
    assert found[0] == "iteration 1, environment 0: steps 0-1 are stored twice; missing: unknown steps"


def _read_fails(store: ReplayStore, file: str) -> str:
    """The one-line message with which reading everything stops at `file`."""
    with pytest.raises(DamagedSegmentError) as error:
        store.digest()
    assert error.value.damage.file == file
    assert "\n" not in str(error.value)
    return str(error.value)


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), values)


def _arrow_bytes(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _with_row_crc32s(table: pa.Table) -> pa.Table:
    """Row checksums as an attacker would put them right; independent of the code under test."""
    numbers = ("iteration", "environment", "start", "count", "policy_version", "episode")
    crc32s = []
    for row in table.to_pylist() if "actions" in table.schema.names else []:
        packed = b"".join((row[name] or 0).to_bytes(8, "little", signed=True) for name in numbers)
        packed += row["episode_step"].to_bytes(4, "little")
        for name, dtype in (("actions", "<i4"), ("rewards", "<f4"), ("terminated", "u1"), ("truncated", "u1")):
            packed += np.array(row[name], dtype).tobytes()
        packed += row["frames_crc32"].to_bytes(4, "little")
        crc32s.append(zlib.crc32(packed, zlib.crc32(RUN.encode())))
    return _with(table, "row_crc32", pa.array(crc32s, pa.uint32())) if crc32s else table


def _plant(directory: Path, data: bytes) -> None:
    """Puts `data` in place of the first file and makes the manifest agree."""
    old = (directory / FIRST).read_bytes()
    (directory / FIRST).write_bytes(data)

    def agree(lines: list[bytes]) -> list[bytes]:
        line = lines[1].replace(hashlib.sha256(old).hexdigest().encode(), hashlib.sha256(data).hexdigest().encode())
        return [lines[0], line.replace(b'"size":%d' % len(old), b'"size":%d' % len(data)), *lines[2:]]

    _rewrite(directory, agree)


def _rewrite(directory: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Changes the manifest's lines and puts their checksums right."""
    path = directory / "manifest.jsonl"
    lines = [line.rpartition(b',"crc32":')[0] for line in change(path.read_bytes().splitlines())]
    path.write_bytes(b"".join(line + b',"crc32":"%08x"}\n' % zlib.crc32(line) for line in lines))
