"""Frames read from files are those that were played, or damage. Tolerance: exact."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from actors import experience_reader
from actors.damage import DamagedExperienceError
from actors.experience_reader import ExperienceReader
from learners.action_space import Box, Discrete
from tests.actors.experience import fill, logical, play, store_of


@pytest.fixture(params=[Discrete(18), Box((-1.0, 0.0, 1.0), (1.0, 0.1, 2.0))], ids=["discrete", "box"])
def stored(tmp_path, request):
    """Chunks, and their receipts by iteration."""
    chunks = play(iterations=4, environments=3, length=50, actions=request.param)
    store = store_of(tmp_path)
    link = fill(store, chunks, pieces=2, collectors=2)
    return store, chunks, [index.receipts for index in store.history(link)]


def frames_of(chunks) -> np.ndarray:
    """(rows, 3, 64, 64), row 0 is zero."""
    return np.concatenate([np.zeros((1, 3, 64, 64), np.uint8), *(chunk.frames for chunk in chunks)])


def test_frames_stay_in_the_files_and_come_by_their_rows(stored):
    store, chunks, iterations = stored
    reader = pickle.loads(pickle.dumps(ExperienceReader(store)))
    found = [chunk for receipts in iterations for chunk in reader.steps(receipts, with_frames=False)]
    assert all(len(chunk.frames) == 0 for chunk in found)
    whole = [chunk for receipts in iterations for chunk in ExperienceReader(store).steps(receipts, with_frames=True)]
    assert logical(whole) == logical(chunks)
    assert [chunk.rewards.tolist() for chunk in found] == [chunk.rewards.tolist() for chunk in whole]
    assert [chunk.actions.tolist() for chunk in found] == [chunk.actions.tolist() for chunk in whole]
    expected = frames_of(chunks)
    rng = np.random.default_rng(0)
    for rows in (np.arange(len(expected)), rng.integers(0, len(expected), 200), np.zeros(3, np.int64), np.array([601])):
        rows = rows[rows < len(expected)]
        assert np.array_equal(reader.frames(rows), expected[rows])


def test_what_was_forgotten_is_read_anew(stored):
    store, chunks, iterations = stored
    reader = ExperienceReader(store)
    for receipts in iterations:
        list(reader.steps(receipts, with_frames=False))
    reader.truncate(300)  # two iterations
    for receipts in (iterations[3], iterations[2]):
        list(reader.steps(receipts, with_frames=False))
    expected = frames_of([*chunks[:6], *chunks[9:], *chunks[6:9]])
    rows = np.random.default_rng(1).integers(0, len(expected), 300)
    assert np.array_equal(reader.frames(rows), expected[rows])
    reader.truncate(0)
    assert reader._pieces == []
    assert not reader.frames(np.zeros(2, np.int64)).any()


def test_a_group_of_one_step_that_is_the_last_kept_can_be_read(tmp_path):
    store, chunks = store_of(tmp_path), play(iterations=2, length=21, end_probability=0.0)
    reader = ExperienceReader(store)
    for index in store.history(fill(store, chunks)):
        list(reader.steps(index.receipts, with_frames=False))
    reader.truncate(21)
    assert np.array_equal(reader.frames(np.arange(22)), frames_of(chunks[:1]))


def test_damage_under_a_group_is_found_when_it_is_read_and_no_other_group_is_hurt(stored):
    store, chunks, iterations = stored
    reader = ExperienceReader(store)
    list(reader.steps(iterations[0], with_frames=False))
    receipt = iterations[0][0]
    path = store.directory / receipt.file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    expected = frames_of(chunks[:3])
    damaged = []
    for row in range(1, len(expected)):
        try:
            assert np.array_equal(reader.frames(np.array([row]))[0], expected[row])
        except DamagedExperienceError as error:
            damaged.append(error.damage.file)
    assert 1 <= len(damaged) <= 20
    assert set(damaged) == {receipt.file}
    os.truncate(path, receipt.size - 1)  # under a map, the system would kill who reads
    with pytest.raises(DamagedExperienceError, match=f"found {receipt.size - 1} bytes, expected {receipt.size}"):
        reader.frames(np.arange(1, len(expected)))


def test_a_file_that_never_appears_is_damage_after_a_time(stored, monkeypatch):
    store, _, iterations = stored
    monkeypatch.setattr(experience_reader, "VISIBLE_WITHIN_S", 0.0)
    (store.directory / iterations[1][0].file).unlink()
    for with_frames in (True, False):
        reader = ExperienceReader(store)
        with pytest.raises(DamagedExperienceError, match="No such file or directory"):
            list(reader.steps(iterations[1], with_frames=with_frames))
