"""Bytes of a piece of experience: exact both ways, and harmless whatever they are. Tolerance: exact, bit for bit."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from actors.damage import DamagedExperienceError
from actors.store_file import GROUP_STEPS, MALFORMED, Head, head_size_of, pack
from learners.action_space import Box, Discrete
from learners.experience import Chunk
from pipeline.needs import PIECE_BYTES, STORED_BYTES
from tests.actors.experience import contents, fill, play, receipts_of, store_of

few = settings(max_examples=10, deadline=None)


def stored(directory: Path, chunks: list[Chunk]) -> list[Chunk]:
    store = store_of(directory)
    return list(store.all_chunks(fill(store, chunks)))


@few
@given(
    seed=st.integers(0, 2**32),
    length=st.integers(1, 50),
    environments=st.integers(1, 3),
    end_probability=st.sampled_from([0.0, 0.1, 0.9]),
    actions=st.sampled_from([Discrete(18), Box((-1.0, 0.0), (1.0, 0.1))]),
)
def test_chunks_come_back_bit_for_bit(tmp_path_factory, seed, length, environments, end_probability, actions):
    how = {"length": length, "end_probability": end_probability, "actions": actions}
    chunks = play(seed, iterations=2, environments=environments, **how)
    assert contents(stored(tmp_path_factory.mktemp("store"), chunks)) == contents(chunks)


def test_extreme_values_come_back_bit_for_bit(tmp_path):
    (chunk,) = play(iterations=1, length=5, end_probability=0.0)
    chunk = replace(
        chunk,
        rewards=np.array([-0.0, 0.0, np.finfo(np.float32).max, np.finfo(np.float32).tiny / 2, -1.0], np.float32),
        actions=np.array([-(2**31), 2**31 - 1, 0, 1, 2], np.int32),
        episodes=np.full(5, 2**62),
        frames=np.full((5, 3, 64, 64), 255, np.uint8),
    )
    assert contents(stored(tmp_path, [chunk])) == contents([chunk])


def test_any_program_can_read_a_file_whose_groups_are_short_and_of_one_episode():
    (chunk,) = play(iterations=1, length=90)
    data, head = pack([chunk])
    tensors = load(data)
    assert np.array_equal(tensors["steps.rewards"], chunk.rewards)
    assert head == len(data) - len(tensors["frames"])
    assert max(tensors["groups.count"]) == GROUP_STEPS
    begin = 0
    for start, count, episode, end, crc32 in zip(
        *(tensors[f"groups.{name}"].tolist() for name in ("start", "count", "episode", "end", "crc32")), strict=True
    ):
        blob = tensors["frames"][begin:end].tobytes()
        assert set(chunk.episodes[start : start + count]) == {episode}
        assert zlib.crc32(blob) == crc32
        raw = pa.Codec("zstd").decompress(blob, decompressed_size=count * 12288, asbytes=True)
        assert raw == chunk.frames[start : start + count].tobytes()
        begin = end


def test_the_bytes_of_a_file_depend_on_its_steps_alone(tmp_path):
    chunks = play(iterations=1, environments=2)
    assert pack(chunks) == pack(play(iterations=1, environments=2))
    first, second = (store_of(tmp_path / name) for name in ("a", "b"))
    assert receipts_of(first, fill(first, chunks)) == receipts_of(second, fill(second, chunks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.array([0, np.nan, 0, np.inf], np.float32)}, "reward 1 is nan, expected finite numbers"),
        (
            {"actions": np.array([[0, 1], [2, 3], [0, np.inf], [0, 0]], np.float32)},
            r"action 2 is \[ 0. inf\], expected f",
        ),
        ({"actions": np.zeros((4, 2))}, r"actions is float64 \(4, 2\), expected int32 \(4,\)"),
        ({"rewards": np.zeros(4)}, r"rewards is float64 \(4,\), expected float32 \(4,\)"),
        ({"frames": np.zeros((4, 64, 64, 3), np.uint8)}, r"frames is uint8 \(4, 64, 64, 3\), expected uint8 \(4, 3"),
        ({"frames": np.zeros((0, 3, 64, 64), np.uint8)}, r"frames is uint8 \(0, 3, 64, 64\), expected uint8 \(4, 3"),
        ({"actions": np.zeros(5, np.int32)}, r"frames is uint8 \(4, 3, 64, 64\), expected uint8 \(5, 3, 64, 64\)"),
        ({"actions": np.zeros(0, np.int32)}, "found 0 steps, expected at least 1"),
        ({"iteration": 0}, "expected iteration >= 1"),
        ({"environment": -1}, "nothing negative"),
        ({"episode_steps": np.array([0, 1, 3, 4], np.int32)}, "episode 0 step 1 is followed by episode 0 step 3"),
        ({"terminated": np.arange(4) == 1}, "episode 0 step 1, where it ended, is followed by episode 0 step 2"),
        ({"episodes": np.array([5, 5, 4, 4])}, "episode 5 step 1 is followed by episode 4 step 2"),
        ({"episodes": np.array([5, 5, 6, 6])}, "episode 5 step 1 is followed by episode 6 step 2"),
        ({"episodes": np.full(4, -1)}, "episode ids and steps count from 0"),
    ],
)
def test_a_malformed_chunk_is_refused_in_one_line_and_leaves_nothing(tmp_path, change, message):
    (chunk,) = play(iterations=1, length=4, end_probability=0.0)
    store = store_of(tmp_path)
    store.make_directory(1)
    with pytest.raises(ValueError, match=message) as error:
        store.write(0, 0, [replace(chunk, **change)])
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("whole", [True, False])
def test_every_flipped_byte_is_noticed_by_who_reads_it(tmp_path, whole):
    (chunk,) = play(iterations=1, length=3, end_probability=0.0)
    store = store_of(tmp_path)
    (receipt,) = receipts_of(store, fill(store, [chunk]))
    path = tmp_path / receipt.file
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*rng.choice(receipt.head, 150, replace=False), *rng.integers(receipt.head, len(intact), 50)]
    for place in places:
        flipped = bytearray(intact)
        flipped[place] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        with pytest.raises(DamagedExperienceError, match=receipt.file):
            store.piece(receipt, whole=whole).frames(0, 1)
    path.write_bytes(intact)
    assert store.piece(receipt, whole=whole).frames(0, 1).tobytes() == chunk.frames.tobytes()


def header_of(data: bytes) -> dict[str, Any]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def with_header(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    header = header_of(data)
    change(header)
    return with_text(data, json.dumps(header).encode())


def with_text(data: bytes, text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def with_tensor(data: bytes, name: str, value: float) -> bytes:
    """The first entry of a tensor is another."""
    entry = header_of(data)[name]
    place = 8 + int.from_bytes(data[:8], "little") + entry["data_offsets"][0]
    dtype = {"I64": np.int64, "U32": np.uint32, "BOOL": np.uint8, "F32": np.float32, "I32": np.int32}[entry["dtype"]]
    raw = np.array([value], dtype).tobytes()
    return data[:place] + raw + data[place + len(raw) :]


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda data: b"", "it has no header"),
    "absurd header": (lambda data: (2**63).to_bytes(8, "little") + data[8:], "it has no header"),
    "brackets": (lambda data: with_text(data, b"[" * 200_000), "recursion"),
    "no object": (lambda data: with_text(data, b"[]"), ""),
    "other format": (
        lambda data: with_header(data, lambda header: header["__metadata__"].update(format="x" * 900)),
        "expected 'iris-ray experience 1'",
    ),
    "another tensor": (lambda data: with_header(data, lambda header: header.update(x=header["frames"])), "the tensors"),
    "absurd shape": (
        lambda data: with_header(data, lambda header: header["steps.rewards"].update(shape=[2**60])),
        "does not lie where it should",
    ),
    "negative shape": (
        lambda data: with_header(data, lambda header: header["steps.rewards"].update(shape=[-8])),
        "impossible shape",
    ),
    "nowhere": (
        lambda data: with_header(data, lambda header: header["frames"].update(data_offsets=[])),
        "frames do not",
    ),
    "shape of words": (
        lambda data: with_header(data, lambda header: header["steps.rewards"].update(shape=["8"])),
        "impossible shape",
    ),
    "elsewhere": (
        lambda data: with_header(data, lambda header: header["steps.actions"].update(data_offsets=[0, 32])),
        "does not lie where it should",
    ),
    "other type": (
        lambda data: with_header(data, lambda header: header["steps.actions"].update(dtype="U32")),
        "actions is uint32",
    ),
    "pickle": (lambda data: with_header(data, lambda header: header["steps.actions"].update(dtype="O")), "'O'"),
    "ten gigabytes": (lambda data: with_tensor(data, "groups.count", 850_000), "of more than 20 steps"),
    "no steps": (lambda data: with_tensor(data, "groups.count", 0), "a group is empty"),
    "other count": (lambda data: with_tensor(data, "groups.count", 7), "not as many"),
    "negative end": (lambda data: with_tensor(data, "groups.end", -1), "do not fill"),
    "far end": (lambda data: with_tensor(data, "groups.end", 2**40), "do not fill"),
    "no number": (lambda data: with_tensor(data, "steps.rewards", np.nan), "reward 0 is nan"),
    "a flag of 2": (lambda data: with_tensor(data, "steps.terminated", 2), "a flag is neither 0 nor 1"),
    "before the start": (lambda data: with_tensor(data, "groups.start", -1), "nothing negative"),
}


@pytest.mark.parametrize(("made", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_whose_checksums_hold_is_damage_in_one_line(tmp_path, made, reason):
    (chunk,) = play(iterations=1, length=8, end_probability=0.0)
    store = store_of(tmp_path)
    (receipt,) = receipts_of(store, fill(store, [chunk]))
    intact = (tmp_path / receipt.file).read_bytes()
    hostile = made(intact)
    head = len(hostile) - (len(intact) - receipt.head) if hostile else 0
    forged = receipt.model_copy(
        update={
            "size": len(hostile),
            "sha256": sha256(hostile).hexdigest(),
            "head": head,
            "head_sha256": sha256(hostile[:head]).hexdigest(),
        }
    )
    (tmp_path / forged.file).write_bytes(hostile)
    for whole in (True, False):
        with pytest.raises(DamagedExperienceError) as error:
            store.piece(forged, whole=whole)
        assert "\n" not in str(error.value)
        assert reason in str(error.value)
    with pytest.raises(MALFORMED):
        Head.of(hostile[: head_size_of(hostile)], len(hostile))


@pytest.mark.parametrize("raw", [bytes(10**7), bytes(12288), b""], ids=["bomb", "too few", "none"])
def test_frames_of_another_size_than_they_should_be_are_damage(tmp_path, raw):
    (chunk,) = play(iterations=1, length=8, end_probability=0.0)
    store = store_of(tmp_path)
    store.make_directory(1)
    data, head = pack([chunk])
    blob = pa.Codec("zstd").compress(raw, asbytes=True)
    data = with_tensor(with_tensor(data, "groups.end", len(blob)), "groups.crc32", zlib.crc32(blob))

    def shorter(header: dict[str, Any]) -> None:
        begin = header["frames"]["data_offsets"][0]
        header["frames"] = {"dtype": "U8", "shape": [len(blob)], "data_offsets": [begin, begin + len(blob)]}

    data = with_header(data[:head] + blob, shorter)
    head = len(data) - len(blob)
    receipt = store.write(0, 0, [chunk]).model_copy(
        update={
            "size": len(data),
            "sha256": sha256(data).hexdigest(),
            "head": head,
            "head_sha256": sha256(data[:head]).hexdigest(),
        }
    )
    (tmp_path / receipt.file).write_bytes(data)
    piece = store.piece(receipt, whole=True)
    with pytest.raises(DamagedExperienceError, match="frames cannot be decompressed"):
        piece.frames(0, 1)


def test_a_step_takes_no_more_of_the_disk_than_a_run_counts_on(tmp_path):
    """Noise, in episodes of one step."""
    rng = np.random.default_rng(0)
    (chunk,) = play(iterations=1, length=50)
    ends = {"terminated": np.ones(50, np.bool_), "truncated": np.zeros(50, np.bool_)}
    steps = {"episodes": np.arange(50), "episode_steps": np.zeros(50, np.int32)}
    chunk = replace(chunk, frames=rng.integers(0, 256, (50, 3, 64, 64), np.uint8), **ends, **steps)
    store = store_of(tmp_path)
    link = fill(store, [chunk])
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert len(receipts_of(store, link)) == 1
    assert size < 50 * (STORED_BYTES + 4) + PIECE_BYTES - 4096
