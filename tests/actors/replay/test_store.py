"""What a healthy store promises. Tolerance: exact, bit for bit."""

from __future__ import annotations

import hashlib
import random
import zlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.replay.store import ReplayStore, StoreState

RUN = "catch-seed0"
LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=3)
SEEDS = st.integers(0, 2**32)
few = settings(max_examples=10, deadline=None)


@few
@given(seed=SEEDS, lengths=LENGTHS, environments=st.integers(1, 3), end_probability=st.sampled_from([0.0, 0.1, 0.9]))
def test_chunks_come_back_bit_for_bit_in_logical_order(play, contents, seed, lengths, environments, end_probability):
    chunks = play(seed, environments=environments, lengths=lengths, end_probability=end_probability, iterations=2)
    with TemporaryDirectory() as directory:
        store = ReplayStore(directory, RUN)
        for chunk in random.Random(seed).sample(chunks, len(chunks)):
            store.append(chunk)
        for opened in (store, ReplayStore(directory, RUN)):
            assert contents(opened) == contents(chunks)
            assert opened.verify() == []


def test_extreme_values_come_back_bit_for_bit(play, contents, tmp_path):
    (chunk,) = play(iterations=1, lengths=(5,), end_probability=0.0)
    extremes = np.array([-0.0, 0.0, np.finfo(np.float32).max, np.finfo(np.float32).tiny / 2, -1.0], np.float32)
    chunk = replace(
        chunk,
        rewards=extremes,
        actions=np.array([-(2**31), 2**31 - 1, 0, 1, 2], np.int32),
        episodes=np.full(5, 2**62),
        frames=np.full((5, 3, 64, 64), 255, np.uint8),
    )
    store = ReplayStore(tmp_path, RUN)
    store.append(chunk)
    assert contents(store) == contents([chunk])


def test_only_the_chosen_iterations_are_read(play, contents, tmp_path):
    chunks = play(iterations=5, environments=2)
    store = _filled(tmp_path, chunks)
    assert contents(list(store.chunks(2, 3))) == contents(chunks[2:6])
    assert contents(list(store.chunks(4))) == contents(chunks[6:])
    assert contents(list(store.chunks(6))) == []


def test_a_chunk_appended_again_is_stored_once_and_gets_the_same_receipt(play, contents, files_of, tmp_path):
    chunks = play(iterations=3)
    store = ReplayStore(tmp_path, RUN, seal_steps=16)
    receipts = [store.append(chunk) for chunk in chunks]
    assert [store.append(chunk) for chunk in chunks] == receipts
    assert store.generation == 3
    store.seal(2)
    before = files_of(tmp_path)
    for opened in (store, ReplayStore(tmp_path, RUN)):
        assert [opened.append(chunk) for chunk in chunks] == receipts
        assert contents(opened) == contents(chunks)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"rewards": np.zeros(8, np.float32)},
        {"frames": np.zeros((8, 3, 64, 64), np.uint8)},
        {"policy_version": 9},
        {"episodes": np.full(8, 3)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_name_with_other_content_is_refused_in_one_line(play, contents, tmp_path, change, is_sealed):
    (chunk,) = play(iterations=1, end_probability=0.0)
    store = _filled(tmp_path, [chunk], seal_steps=8)
    store.seal(int(is_sealed))
    with pytest.raises(ValueError, match=r"^chunk-catch-seed0-000001-0000-000000-0008 is stored already, with other "):
        store.append(replace(chunk, **change))
    assert contents(store) == contents([chunk])


def test_steps_that_overlap_stored_ones_are_refused(play, tmp_path):
    (chunk,) = play(iterations=1, lengths=(20,))
    store = _filled(tmp_path, [replace(chunk, start=20)])
    for start in (1, 10, 39):
        with pytest.raises(
            ValueError, match=rf"-0000{start:02d}-0020 overlaps the stored chunk-\S+-000020-0020.arrow$"
        ):
            store.append(replace(chunk, start=start))
    store.append(replace(chunk, start=0))
    store.append(replace(chunk, start=40))
    assert store.num_steps == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.array([0, np.nan, 0, np.inf], np.float32)}, "reward 1 is nan, expected a finite number"),
        ({"rewards": np.array([0, 0, -np.inf, 0], np.float32)}, "reward 2 is -inf, expected a finite number"),
        ({"rewards": np.zeros(4)}, r"rewards is float64 \(4,\), expected float32 \(4,\)"),
        ({"frames": np.zeros((4, 64, 64, 3), np.uint8)}, r"frames is uint8 \(4, 64, 64, 3\), expected uint8 \(4, 3"),
        ({"actions": np.zeros(5, np.int32)}, r"frames is uint8 \(4, 3, 64, 64\), expected uint8 \(5, 3, 64, 64\)"),
        ({"actions": np.zeros(0, np.int32)}, "found 0 steps, expected at least 1"),
        ({"iteration": 0}, "expected iteration >= 1"),
        ({"environment": -1}, "nothing negative"),
        ({"episode_steps": np.array([0, 1, 3, 4], np.int32)}, "episode 0 step 1 is followed by episode 0 step 3"),
        ({"episodes": np.array([0, 0, 1, 1])}, "episode 0 step 1 is followed by episode 1 step 2"),
        (
            {"episodes": np.array([1, 1, 0, 0]), "episode_steps": np.array([0, 1, 0, 1], np.int32)},
            "episode 1 step 1 is followed by episode 0 step 0",
        ),
        (
            {"terminated": np.array([False, True, False, False])},
            "episode 0 step 1, where it ended, is followed by episode 0 step 2",
        ),
    ],
)
def test_a_malformed_chunk_is_refused_in_one_line(play, files_of, tmp_path, change, message):
    (chunk,) = play(iterations=1, lengths=(4,), end_probability=0.0)
    store = ReplayStore(tmp_path, RUN)
    with pytest.raises(ValueError, match=message) as error:
        store.append(replace(chunk, **change))
    assert "\n" not in str(error.value)
    assert files_of(tmp_path) == ["manifest.jsonl"]


@few
@given(seed=SEEDS, lengths=LENGTHS, last=st.integers(0, 4), sealed=st.integers(0, 4), seal_steps=st.integers(1, 200))
def test_truncating_leaves_what_was_stored_up_to_that_iteration(
    play, contents, files_of, seed, lengths, last, sealed, seal_steps
):
    chunks = play(seed, lengths=lengths, environments=2)
    past = [chunk for chunk in chunks if chunk.iteration <= last]
    with TemporaryDirectory() as directory, TemporaryDirectory() as other:
        store = _filled(directory, chunks, seal_steps=seal_steps)
        store.seal(sealed)
        store.truncate(last)
        assert contents(store) == contents(past)
        assert store.digest() == _filled(other, past).digest()
        after = (store.generation, files_of(Path(directory)))
        store.truncate(last)
        assert (store.generation, files_of(Path(directory))) == after
        for chunk in chunks:
            store.append(chunk)
        assert contents(store) == contents(chunks)
        assert store.verify() == []


def test_a_file_replaced_under_the_same_name_is_read_anew(play, contents, tmp_path):
    chunks = play(iterations=2)
    other = replace(chunks[1], actions=chunks[1].actions + 1)
    store = _filled(tmp_path, chunks)
    assert contents(store) == contents(chunks)
    store.truncate(1)
    store.append(other)
    assert contents(store) == contents([chunks[0], other])


@few
@given(seed=SEEDS, lengths=LENGTHS, sealed=st.lists(st.integers(0, 4), max_size=3), seal_steps=st.integers(1, 200))
def test_sealing_changes_files_but_no_content(play, contents, files_of, seed, lengths, sealed, seal_steps):
    chunks = play(seed, lengths=lengths, environments=2)
    with TemporaryDirectory() as directory:
        store = _filled(directory, chunks, seal_steps=seal_steps)
        digest, counts = store.digest(), (store.num_steps, store.num_episodes)
        num_segments = sum(store.seal(last) for last in sealed)
        for opened in (store, ReplayStore(directory, RUN)):
            assert contents(opened) == contents(chunks)
            assert opened.digest() == digest
            assert (opened.num_steps, opened.num_episodes) == counts
            assert opened.verify() == []
        segments = [name for name in files_of(Path(directory)) if name.startswith("segment-")]
        assert len(segments) == num_segments
        assert all(int(name.split("-")[-2]) >= seal_steps for name in segments)


def test_only_whole_segments_of_old_iterations_are_sealed(play, files_of, tmp_path):
    store = _filled(tmp_path, play(iterations=9), seal_steps=20)
    assert store.seal(8) == 2
    assert [name.rpartition("-")[0] for name in files_of(tmp_path)] == [
        "chunk-catch-seed0-000007-0000-000000",
        "chunk-catch-seed0-000008-0000-000000",
        "chunk-catch-seed0-000009-0000-000000",
        "",  # the manifest
        "segment-catch-seed0-000001-0000-000000-24",
        "segment-catch-seed0-000004-0000-000000-24",
    ]
    assert store.seal(8) == 0


def test_reading_goes_on_while_chunks_are_sealed(play, contents, tmp_path):
    chunks = play(iterations=6)
    store = _filled(tmp_path, chunks, seal_steps=16)
    reading = store.chunks()
    first = next(reading)
    store.seal(6)
    assert contents([first, *reading]) == contents(chunks)


def test_the_digest_is_the_hash_of_the_steps_in_order(play, tmp_path):
    chunks = play(iterations=2, lengths=(3,))
    expected = hashlib.sha256()
    for chunk in chunks:
        for i in range(3):
            for number in (chunk.iteration, chunk.environment, chunk.start + i, int(chunk.episodes[i])):
                expected.update(number.to_bytes(8, "little"))
            for array in (chunk.episode_steps, chunk.actions, chunk.rewards, chunk.terminated, chunk.truncated):
                expected.update(array[i].tobytes())
            expected.update(chunk.frames[i].tobytes())
    assert _filled(tmp_path, chunks).digest() == expected.hexdigest()


@few
@given(seed=SEEDS, length=st.integers(2, 60), data=st.data())
def test_chunk_boundaries_do_not_change_the_digest(play, seed, length, data):
    (whole,) = play(seed, iterations=1, lengths=(length,))
    cut = data.draw(st.integers(1, length - 1))
    parts = [_part(whole, 0, cut), _part(whole, cut, length)]
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        assert _filled(one, [whole]).digest() == _filled(two, parts).digest()


def test_counts_are_those_of_the_stored_steps_and_begun_episodes(play, tmp_path):
    chunks = play(iterations=2, environments=2, lengths=(4, 3), end_probability=0.0)
    store = _filled(tmp_path, chunks)
    assert store.state() == StoreState(generation=8, num_steps=28, num_episodes=2)
    assert [store.steps_of(iteration) for iteration in (0, 1, 2, 3)] == [0, 14, 14, 0]
    store.truncate(1)
    assert ReplayStore(tmp_path, RUN).state() == StoreState(generation=9, num_steps=14, num_episodes=2)


def test_another_runs_store_and_an_unknown_version_are_refused(play, tmp_path):
    _filled(tmp_path, play())
    with pytest.raises(ValueError, match=r"manifest.jsonl: belongs to run 'catch-seed0', expected 'catch-seed1'$"):
        ReplayStore(tmp_path, "catch-seed1")
    header = b'{"format":"iris-ray replay","version":2,"run":"catch-seed0","names":{}'
    (tmp_path / "manifest.jsonl").write_bytes(header + b',"crc32":"%08x"}\n' % zlib.crc32(header))
    with pytest.raises(ValueError, match=r"found 'iris-ray replay' version 2, this program reads .* version 1$"):
        ReplayStore(tmp_path, RUN)
    for run_id in ("", "../x", ".hidden", "a/b", "a b", "x" * 101):
        with pytest.raises(ValueError, match=r"^run id: found"):
            ReplayStore(tmp_path, run_id)


def test_any_arrow_program_can_read_a_file_whose_rows_are_short_and_of_one_episode(play, tmp_path):
    (chunk,) = play(iterations=1, lengths=(90,))
    _filled(tmp_path, [chunk])
    table = pa.ipc.open_file(next(tmp_path.glob("*.arrow"))).read_all()
    assert max(table["count"].to_pylist()) == 20
    for row in table.to_pylist():
        steps = slice(row["start"], row["start"] + row["count"])
        assert set(chunk.episodes[steps]) == {row["episode"]}
        assert row["rewards"] == [*chunk.rewards[steps].tolist(), *[0.0] * (20 - row["count"])]
        raw = pa.Codec("zstd").decompress(row["frames"], decompressed_size=row["count"] * 12288, asbytes=True)
        assert raw == chunk.frames[steps].tobytes()


def _filled(directory, chunks, seal_steps=8192) -> ReplayStore:
    store = ReplayStore(directory, RUN, seal_steps=seal_steps)
    for chunk in chunks:
        store.append(chunk)
    return store


def _part(chunk, first, end):
    names = ("frames", "actions", "rewards", "terminated", "truncated", "episodes", "episode_steps")
    return replace(chunk, start=chunk.start + first, **{name: getattr(chunk, name)[first:end] for name in names})
