"""Where experience lies: what a commit leads to is there, whatever else is; what is not as it was is named."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import store as store_module
from actors.damage import DamagedExperienceError
from actors.store import QUARANTINE, ReplayStore
from actors.store_index import Index, Link
from learners import durable
from tests.actors.experience import RUN, contents, files_of, fill, logical, part, play, receipts_of, store_of


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), pieces=st.integers(1, 4), collectors=st.integers(1, 3))
def test_steps_come_in_logical_order_whatever_the_files_are(tmp_path_factory, seed, pieces, collectors):
    chunks = play(seed, environments=3, length=30)
    store = store_of(tmp_path_factory.mktemp("store"))
    link = fill(store, chunks, pieces=pieces, collectors=collectors)
    found = list(store.all_chunks(link))
    assert logical(found) == logical(chunks)
    assert [each.policy_version for each in found] == [each.iteration - 1 for each in found]
    history = store.history(link)
    assert [index.iteration for index in history] == [1, 2, 3]
    assert sum(index.steps for index in history) == 270
    assert sum(index.episodes for index in history) == sum(each.num_episodes for each in chunks)
    assert len(receipts_of(store, link)) == 3 * pieces * collectors
    assert not store.strays(history)


def test_the_same_steps_written_again_are_the_same_file_and_others_are_another(tmp_path):
    (chunk,) = play(iterations=1)
    store = store_of(tmp_path)
    link = fill(store, [chunk])
    (receipt,) = receipts_of(store, link)
    before = files_of(tmp_path)
    assert store.write(0, 0, [chunk]) == receipt
    assert files_of(tmp_path) == before
    other = store.write(0, 0, [replace(chunk, actions=chunk.actions + 1)])  # of a process that outlived its run, say
    assert other.file != receipt.file
    assert contents(store.all_chunks(link)) == contents([chunk])
    history = store.history(link)
    assert store.strays(history) == [tmp_path / other.file]
    store.clear(history)
    assert files_of(tmp_path) == before


def test_a_collector_makes_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError):
        store_of(tmp_path).write(0, 0, play(iterations=1))
    assert files_of(tmp_path) == []


def test_of_an_abandoned_attempt_nothing_is_reached_and_all_is_cleared_away(tmp_path):
    chunks = play(iterations=4)
    store = store_of(tmp_path)
    first = fill(store, chunks[:2])
    kept = files_of(tmp_path)
    fill(store, chunks[2:])
    (tmp_path / "000002" / f"x.{'0' * 16}.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_bytes(b"of somebody")
    (tmp_path / "000001" / "folder").mkdir()
    history = store.history(first)
    strays = [str(path.relative_to(tmp_path)) for path in store.strays(history)]
    assert strays == ["000001/folder", f"000002/x.{'0' * 16}.tmp", "000003", "000004", "notes.txt"]
    assert store.newest_iteration() == 4
    store.clear(history)
    assert files_of(tmp_path) == kept
    assert contents(store.all_chunks(first)) == contents(chunks[:2])
    store.clear([])
    assert files_of(tmp_path) == []
    assert (store.newest_iteration(), ReplayStore(tmp_path / "nowhere", RUN).newest_iteration()) == (0, 0)


def test_clearing_follows_no_links(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_bytes(b"keep me")
    store = store_of(tmp_path / "replay")
    link = fill(store, play(iterations=1))
    for name in ("000001/link", "000009", QUARANTINE):
        (tmp_path / "replay" / name).symlink_to(theirs)
    store.clear(store.history(link))
    assert (theirs / "file").read_bytes() == b"keep me"
    assert sorted(each.name for each in (tmp_path / "replay").iterdir()) == ["000001", QUARANTINE]


def test_a_store_may_itself_be_a_link_to_a_larger_disk(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "replay").symlink_to(tmp_path / "large")
    store = store_of(tmp_path / "replay")
    link = fill(store, play(iterations=2))
    (tmp_path / "large" / "000003").mkdir()
    (tmp_path / "large" / "000003" / "file").write_bytes(b"of an abandoned attempt")
    assert store.newest_iteration() == 3
    store.clear(store.history(link))
    assert sorted(each.name for each in (tmp_path / "large").iterdir()) == ["000001", "000002"]


def index_file(store: ReplayStore, link: Link | None, iteration: int) -> Path:
    (found,) = (each for each in store.history(link) if each.iteration == iteration)
    return store.directory / found.link.file


@pytest.mark.parametrize("iteration", [1, 2, 3])
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"steps": 4', b'"steps": 5')),
        lambda path: path.write_bytes(b"[" * 200_000),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
    ],
    ids=["gone", "empty", "changed", "brackets", "pipe", "link"],
)
def test_a_damaged_index_is_told_from_its_files_and_made_anew(tmp_path, iteration, damage):
    chunks = play(environments=2)
    store = store_of(tmp_path)
    link = fill(store, chunks, pieces=2, collectors=2)
    path = index_file(store, link, iteration)
    # Another attempt has left a file of the same steps: both are tried.
    chunk = part(chunks[2 * (iteration - 1)], 0, 4)
    store.write(0, 0, [replace(chunk, actions=chunk.actions + 1)])
    intact = path.read_bytes()
    damage(path)
    assert contents(store.all_chunks(link)) == contents(store.all_chunks(link))
    assert logical(list(store.all_chunks(link))) == logical(chunks)
    (found,) = store.damaged_indices(link)
    assert found.file == str(path.relative_to(tmp_path))
    assert not path.is_file() or path.is_symlink() or path.read_bytes() != intact  # who reads writes nothing
    assert store.restore_indices(link) == [found]
    assert path.read_bytes() == intact
    assert store.damaged_indices(link) == []
    reason = (tmp_path / QUARANTINE / f"{path.parent.name}-{path.name}.txt").read_text()
    assert reason == f"{found}\n"


def test_an_index_that_cannot_be_told_is_damage_and_those_before_it_are_as_good_as_ever(tmp_path):
    chunks = play()
    store = store_of(tmp_path)
    links = [fill(store, chunks[:1])]
    for chunk in chunks[1:]:
        store.make_directory(chunk.iteration)
        links.append(store.write_index(chunk.iteration, links[-1], [store.write(0, 0, [chunk])]))
    index_file(store, links[-1], 2).unlink()
    (file,) = tmp_path.glob("000002/0000-*")
    file.unlink()
    words = r"000002/index-\w+\.json: No such file or directory, and the files of its iteration do not tell"
    with pytest.raises(DamagedExperienceError, match=words) as error:
        store.history(links[-1])
    assert "\n" not in str(error.value)
    assert contents(store.all_chunks(links[0])) == contents(chunks[:1])


def test_indices_that_follow_each_other_are_told_from_their_files_too(tmp_path):
    chunks = play(iterations=5)
    store = store_of(tmp_path)
    link = fill(store, chunks)
    intact = files_of(tmp_path)
    for iteration in (1, 2, 3, 5):
        (path,) = tmp_path.glob(f"{iteration:06d}/index-*")
        path.unlink()
    assert contents(store.all_chunks(link)) == contents(chunks)
    assert len(store.restore_indices(link)) == 4
    assert [name for name in files_of(tmp_path) if QUARANTINE not in name] == intact


def test_an_index_of_another_run_or_that_leads_nowhere_is_damage(tmp_path):
    store = store_of(tmp_path)
    link = fill(store, play(iterations=1))
    with pytest.raises(DamagedExperienceError, match="belongs to run 'catch-seed0', expected 'catch-seed1'"):
        ReplayStore(tmp_path, "catch-seed1").history(link)
    (index,) = store.history(link)
    circle = index.model_copy(update={"previous": Link(iteration=1, sha256="0" * 64)})
    durable.write_durably(tmp_path / circle.link.file, circle.content)
    with pytest.raises(DamagedExperienceError, match="it follows a later iteration"):
        store.history(circle.link)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"format": 1}', b"[" * 200_000, b"\xff", b"1e999"])
def test_what_is_no_index_is_refused(content):
    with pytest.raises((ValueError, RecursionError)):
        Index.of(content)


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
def test_a_file_that_is_no_longer_what_it_was_is_damage(tmp_path, change, reason):
    store = store_of(tmp_path)
    (receipt,) = receipts_of(store, fill(store, play(iterations=1)))
    piece = store.piece(receipt, whole=False)
    assert store.missing(receipt) is None
    change(tmp_path / receipt.file)
    held = len(os.listdir("/proc/self/fd"))
    damage = store.missing(receipt)
    assert damage
    assert (damage.file, damage.missing) == (receipt.file, "8 steps of iteration 1, collector 0")
    assert reason in damage.reason
    for read in (lambda: piece.frames(0, 1), lambda: store.piece(receipt, whole=True)):
        with pytest.raises(DamagedExperienceError) as error:
            read()
        assert str(error.value).startswith(f"{receipt.file}: ")
        assert reason in str(error.value)
    assert len(os.listdir("/proc/self/fd")) == held


def test_a_quarantined_file_lies_beside_its_reason(tmp_path):
    store = store_of(tmp_path)
    (receipt,) = receipts_of(store, fill(store, play(iterations=1)))
    path = tmp_path / receipt.file
    intact = path.read_bytes()
    damaged = intact[:-1] + bytes([intact[-1] ^ 1])
    path.write_bytes(damaged)
    with pytest.raises(DamagedExperienceError) as error:
        store.piece(receipt, whole=True)
    for _ in range(2):  # once more, after a crash, say
        store.quarantine(error.value.damage)
        shelter = tmp_path / QUARANTINE / receipt.file.replace("/", "-")
        assert shelter.read_bytes() == damaged
        assert shelter.with_name(f"{shelter.name}.txt").read_text() == (
            f"{receipt.file}: its sha256 is not its receipt's; missing: 8 steps of iteration 1, collector 0\n"
        )
    assert not path.exists()


def test_a_file_that_another_node_does_not_see_yet_is_waited_for(tmp_path, monkeypatch):
    (chunk,) = play(iterations=1)
    store = store_of(tmp_path)
    (receipt,) = receipts_of(store, fill(store, [chunk]))
    hidden = tmp_path / "hidden"
    (tmp_path / receipt.file).rename(hidden)
    threading.Timer(0.2, lambda: hidden.rename(tmp_path / receipt.file)).start()
    assert contents(store.chunks([receipt], patience_s=60.0)) == contents([chunk])
    (tmp_path / receipt.file).unlink()
    slept: list[float] = []
    monkeypatch.setattr(store_module.time, "sleep", slept.append)
    monkeypatch.setattr(store_module.time, "monotonic", lambda: time.perf_counter() + 10.0 * len(slept))
    with pytest.raises(DamagedExperienceError, match="No such file or directory"):
        list(store.chunks([receipt], patience_s=60.0))
    assert 5 <= len(slept) <= 7


def test_the_logical_content_is_that_of_the_steps_in_order():
    (chunk,) = play(iterations=1, length=3)
    expected = b""
    for i in range(3):
        for number in (chunk.iteration, chunk.environment, chunk.start + i, int(chunk.episodes[i])):
            expected += number.to_bytes(8, "little")
        for array in (chunk.episode_steps, chunk.actions, chunk.rewards, chunk.terminated, chunk.truncated):
            expected += array[i].tobytes()
        expected += chunk.frames[i].tobytes()
    assert chunk.logical_bytes() == expected
    assert logical([part(chunk, 0, 1), part(chunk, 1, 3)]) == expected
    assert np.frombuffer(expected, np.uint8).size == 3 * (4 * 8 + 3 * 4 + 2 + 12288)
