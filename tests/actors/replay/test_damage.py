"""What is not as it was written is noticed, named and survivable; a hostile file can do no more than that."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from actors.replay.damage import DamagedSegmentError, Span
from actors.replay.store import ReplayStore

RUN = "catch-seed0"
FIRST = "chunk-catch-seed0-000001-0000-000000-0008.arrow"
SECOND = "chunk-catch-seed0-000002-0000-000000-0008.arrow"
WHOLE = (Span(1, 0, 0, 8),)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_every_flipped_byte_of_a_file_is_noticed(read_fails, play, tmp_path, is_sealed):
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
        read_fails(ReplayStore(tmp_path, RUN), path.name)
    path.write_bytes(intact)
    assert store.verify() == []


def test_frames_that_change_after_the_file_was_opened_are_noticed(read_fails, stored):
    store = ReplayStore(stored, RUN)
    digest = store.digest()
    intact = (stored / FIRST).read_bytes()
    frames = pa.ipc.open_file(stored / FIRST).read_all()["frames"][0].as_py()
    begin = intact.index(frames)
    for position in range(begin, begin + len(frames), len(frames) // 50):
        with open(stored / FIRST, "r+b") as file:
            file.seek(position)
            file.write(bytes([intact[position] ^ 1]))
        read_fails(store, FIRST)
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
def test_a_file_that_is_no_longer_what_it_was_is_damage(read_fails, stored, change, reason, is_open):
    store = ReplayStore(stored, RUN)
    if is_open:
        store.digest()
    change(stored / FIRST)
    message = read_fails(store, FIRST)
    assert message.startswith(f"{FIRST}: ")
    assert reason in message
    assert message.endswith("; missing: environment 0, iterations 1, steps 0-7")
    assert [(damage.file, damage.missing) for damage in store.verify()] == [(FIRST, WHOLE)]


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


def test_the_damage_of_a_segment_names_all_its_steps_in_one_line(read_fails, play, tmp_path):
    store = ReplayStore(tmp_path, RUN, seal_steps=60)
    for chunk in play(iterations=7, environments=2, lengths=(4, 3)):
        if chunk.iteration != 4:
            store.append(chunk)
    store.seal(7)
    (path,) = tmp_path.glob("segment-*")
    os.truncate(path, 10)
    message = read_fails(store, path.name)
    assert message.endswith(
        "; missing: environment 0, iterations 1-3, 5, steps 0-6; environment 1, iterations 1-3, 5, steps 0-6"
        "; environment 0, iterations 6, steps 0-3"
    )
    with pytest.raises(DamagedSegmentError, match=path.name):
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
            lambda chunks: chunks[3:],
            "iteration 2, environment 0, step 0: episode 0 step 18 follows nothing",
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
    ids=[
        "gap",
        "no start",
        "lost iteration",
        "lost first iteration",
        "jump",
        "step twice",
        "after the end",
        "two environments",
    ],
)
def test_steps_and_episodes_that_are_not_contiguous_are_found(play, tmp_path, pick, message):
    store = ReplayStore(tmp_path, RUN)
    for chunk in pick(play(iterations=3, lengths=(8, 5, 5), end_probability=0.0)):
        store.append(chunk)
    assert str(store.verify()[0]).removesuffix("; missing: unknown steps") == message


@pytest.mark.parametrize(
    ("lost", "elsewhere"),
    [(0, (2, 3)), (3, (3,)), (4, (1, 3)), (5, (1,))],
    ids=["very first", "start", "middle", "end"],
)
def test_a_gap_is_no_damage_where_steps_may_be_missing(play, tmp_path, lost, elsewhere):
    chunks = play(iterations=3, lengths=(8, 5, 5), end_probability=0.0)
    store = ReplayStore(tmp_path, RUN)
    for chunk in chunks[:lost] + chunks[lost + 1 :]:
        store.append(chunk)
    assert store.verify(incomplete=(chunks[lost].iteration,)) == []
    assert len(store.verify(incomplete=elsewhere)) == len(store.verify()) == 1
