"""What is missing, doubled or broken in a run's experience is found, whatever the checksums say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actors.audit import audit
from tests.actors.experience import fill, part, play, receipts_of, store_of


def stretches():
    """Nine chunks of one episode: three in each of three iterations."""
    return [
        part(chunk, first, end)
        for chunk in play(iterations=3, length=18, end_probability=0.0)
        for first, end in ((0, 8), (8, 13), (13, 18))
    ]


def stored(directory, chunks):
    """Each chunk in a file of its own; the indices."""
    store, link = store_of(directory), None
    for iteration in sorted({chunk.iteration for chunk in chunks}):
        store.make_directory(iteration)
        its = [chunk for chunk in chunks if chunk.iteration == iteration]
        link = store.write_index(iteration, link, [store.write(0, piece, [each]) for piece, each in enumerate(its)])
    return store, link


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (lambda chunks: [chunks[0], chunks[2]], "iteration 1, environment 0: no file holds steps 8-12"),
        (lambda chunks: [chunks[1], chunks[2]], "iteration 1, environment 0: no file holds steps 0-7"),
        (
            lambda chunks: [*chunks[:3], *chunks[6:]],
            "iteration 3, environment 0, step 0: episode 0 step 36 follows episode 0 step 17",
        ),
        (lambda chunks: chunks[3:], "iteration 2, environment 0, step 0: episode 0 step 18 follows nothing"),
        (lambda chunks: [*chunks[:2], chunks[1], chunks[2]], "iteration 1, environment 0: steps 8-12 are stored twice"),
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
    ids=["gap", "no start", "lost iteration", "lost first", "double", "jump", "again", "after the end", "two homes"],
)
def test_steps_and_episodes_that_are_not_contiguous_are_found(tmp_path, pick, message):
    store, link = stored(tmp_path, pick(stretches()))
    assert str(audit(store, store.history(link))[0]) == message


def test_whole_experience_has_no_fault(tmp_path):
    store = store_of(tmp_path)
    link = fill(store, play(environments=3, length=45, end_probability=0.3), pieces=3, collectors=2)
    assert audit(store, store.history(link)) == []


@pytest.mark.parametrize("lost", [0, 3, 4, 8], ids=["very first", "start", "middle", "end"])
def test_a_gap_is_no_damage_where_a_file_is_known_to_be_lost(tmp_path, lost):
    store, link = stored(tmp_path, stretches())
    receipt = receipts_of(store, link)[lost]
    (tmp_path / receipt.file).unlink()
    (damage,) = audit(store, store.history(link))  # the gap is not told again
    assert damage.file == receipt.file
    assert audit(store, store.history(link), [receipt]) == []


def test_a_damaged_group_is_found(tmp_path):
    store, link = stored(tmp_path, stretches())
    receipt = receipts_of(store, link)[4]
    data = bytearray((tmp_path / receipt.file).read_bytes())
    data[-1] ^= 1
    (tmp_path / receipt.file).write_bytes(data)
    (damage,) = audit(store, store.history(link))
    assert (damage.file, damage.missing) == (receipt.file, "5 steps of iteration 2, collector 0")
