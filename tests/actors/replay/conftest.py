"""Experience to store, and what a store holds, for the tests of actors/replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from actors.replay.damage import DamagedSegmentError
from actors.replay.store import ReplayStore
from learners import durable
from learners.experience import Chunk

Play = Callable[..., list[Chunk]]
Contents = Callable[..., list[tuple[object, ...]]]
FilesOf = Callable[[Path], list[str]]


def _play(
    seed: int = 0,
    *,
    iterations: int = 3,
    environments: int = 1,
    lengths: Sequence[int] = (8,),
    end_probability: float = 0.1,
) -> list[Chunk]:
    """Chunks of `lengths` steps for every environment in every iteration, in logical order; episodes run through."""
    rng = np.random.default_rng(seed)
    episode = list(range(environments))
    step = [0] * environments
    chunks: list[Chunk] = []
    for iteration in range(1, iterations + 1):
        for environment in range(environments):
            start = 0
            for length in lengths:
                ends = rng.random((2, length)) < end_probability / 2
                episodes, episode_steps = np.zeros(length, np.int64), np.zeros(length, np.int32)
                for i in range(length):
                    episodes[i], episode_steps[i] = episode[environment], step[environment]
                    step[environment] += 1
                    if ends[:, i].any():
                        episode[environment], step[environment] = episode[environment] + environments, 0
                chunks.append(
                    Chunk(
                        iteration=iteration,
                        environment=environment,
                        start=start,
                        policy_version=iteration - 1,
                        frames=rng.integers(0, 4, (length, 3, 64, 64), np.uint8),
                        actions=rng.integers(0, 18, length, np.int32),
                        rewards=rng.normal(size=length).astype(np.float32),
                        terminated=ends[0],
                        truncated=ends[1],
                        episodes=episodes,
                        episode_steps=episode_steps,
                    )
                )
                start += length
    return chunks


def _contents(source: ReplayStore | Sequence[Chunk]) -> list[tuple[object, ...]]:
    """Every bit of every chunk, in a form that compares."""
    chunks = source.chunks() if isinstance(source, ReplayStore) else source
    values = ([getattr(chunk, field.name) for field in fields(Chunk)] for chunk in chunks)
    return [
        tuple((v.dtype, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in chunk) for chunk in values
    ]


def _files_of(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module", autouse=True)
def _without_waiting_for_the_disk() -> Iterator[None]:
    """No power is lost during a test, and the tests of crashes bring their own disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "fsync", lambda descriptor: None)
        yield


def _read_fails(store: ReplayStore, file: str) -> str:
    """The one-line message with which reading everything stops at `file`."""
    with pytest.raises(DamagedSegmentError) as error:
        store.digest()
    assert error.value.damage.file == file
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="session")
def play() -> Play:
    return _play


@pytest.fixture(scope="session")
def contents() -> Contents:
    return _contents


@pytest.fixture(scope="session")
def files_of() -> FilesOf:
    return _files_of


@pytest.fixture(scope="session")
def read_fails() -> Callable[[ReplayStore, str], str]:
    return _read_fails


@pytest.fixture
def stored(tmp_path) -> Path:
    """Three iterations of 8 steps, a file each."""
    store = ReplayStore(tmp_path / "replay", "catch-seed0")
    for chunk in _play(iterations=3):
        store.append(chunk)
    return tmp_path / "replay"
