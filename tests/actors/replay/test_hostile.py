"""Files and manifests made to harm, every outer checksum right, are damage and nothing more."""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.replay.damage import Damage, Span
from actors.replay.store import ReplayStore

RUN = "catch-seed0"
FIRST = "chunk-catch-seed0-000001-0000-000000-0008.arrow"
WHOLE = (Span(1, 0, 0, 8),)


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
    "changed row": (
        lambda table: _with(table, "policy_version", pa.array([9] * table.num_rows)),
        "row 0 fails its CRC32",
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
def test_a_hostile_file_with_every_checksum_right_is_damage(read_fails, stored, forgery, reason):
    if isinstance(forgery, bytes):
        data = forgery
    else:
        table = forgery(pa.ipc.open_file(stored / FIRST).read_all())
        data = _arrow_bytes(table if reason == "row 0 fails its CRC32" else _with_row_crc32s(table))
    _plant(stored, data)
    assert reason in read_fails(ReplayStore(stored, RUN), FIRST)
    assert [damage.file for damage in ReplayStore(stored, RUN).verify()] == [FIRST]


def test_a_compressed_body_is_refused_before_it_is_inflated(read_fails, stored):
    table = pa.ipc.open_file(stored / FIRST).read_all()
    frames = pa.array([bytes(10**7)] * table.num_rows, pa.large_binary())
    _plant(stored, _arrow_bytes(_with(table, "frames", frames), compression="zstd"))
    assert (stored / FIRST).stat().st_size < 10**5
    default = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(default)
    pa.set_memory_pool(pool)
    try:
        assert "it does not hold one uncompressed record batch" in read_fails(ReplayStore(stored, RUN), FIRST)
        assert (pool.max_memory() or 0) < 10**5
    finally:
        pa.set_memory_pool(default)


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/passwd", "chunk-a/../../outside.arrow"])
def test_a_name_that_leaves_the_directory_is_damage_and_touches_nothing(read_fails, stored, name):
    outside = stored.parent / "outside.arrow"
    shutil.copy(stored / FIRST, outside)
    _rewrite(stored, lambda lines: [lines[0], lines[1].replace(FIRST.encode(), name.encode()), *lines[2:]])
    store = ReplayStore(stored, RUN)
    read_fails(store, "manifest.jsonl")
    (damage, *_) = store.verify()
    assert str(damage).startswith("manifest.jsonl: line 2: file: String should match pattern '^(chunk|segment)-")
    assert damage.missing == WHOLE
    with pytest.raises(ValueError, match="no file of this store to quarantine"):
        store.quarantine(Damage(name, "", ()))
    assert outside.exists()


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
