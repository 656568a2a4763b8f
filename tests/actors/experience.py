"""Made-up experience, and how it is stored and compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from actors.store import ReplayStore
from actors.store_index import Link, Receipt
from learners.action_space import ActionSpace, Discrete
from learners.experience import COLUMNS, Chunk

RUN = "catch-seed0"
ACTION_SPACE = Discrete(18)


def play(
    seed: int = 0,
    *,
    iterations: int = 3,
    environments: int = 1,
    length: int = 8,
    end_probability: float = 0.1,
    actions: ActionSpace = ACTION_SPACE,
) -> list[Chunk]:
    """A chunk of `length` steps for every environment in every iteration, in logical order; episodes run through."""
    rng = np.random.default_rng(seed)
    episode, step = list(range(environments)), [0] * environments
    chunks: list[Chunk] = []
    for iteration in range(1, iterations + 1):
        for environment in range(environments):
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
                    start=0,
                    policy_version=iteration - 1,
                    frames=rng.integers(0, 4, (length, 3, 64, 64), np.uint8),
                    actions=actions.sample(rng, length).astype(actions.dtype),
                    rewards=rng.normal(size=length).astype(np.float32),
                    terminated=ends[0],
                    truncated=ends[1],
                    episodes=episodes,
                    episode_steps=episode_steps,
                )
            )
    return chunks


def part(chunk: Chunk, first: int, end: int) -> Chunk:
    """The steps `first` to `end` of a chunk."""
    return replace(chunk, start=chunk.start + first, **{name: getattr(chunk, name)[first:end] for name in COLUMNS})


def store_of(directory: Path) -> ReplayStore:
    return ReplayStore(directory, RUN)


def fill(store: ReplayStore, chunks: Iterable[Chunk], *, pieces: int = 1, collectors: int = 1) -> Link | None:
    """Stores whole iterations: `collectors` share the environments, each writes in so many pieces."""
    link: Link | None = None
    for iteration, played in groupby(chunks, key=lambda each: each.iteration):
        store.make_directory(iteration)
        its = list(played)
        receipts: list[Receipt] = []
        for collector in range(collectors):
            mine = [each for each in its if each.environment % collectors == collector]
            for piece in range(pieces):
                cut = [part(each, *(len(each) * k // pieces for k in (piece, piece + 1))) for each in mine]
                if cut := [each for each in cut if len(each)]:
                    receipts.append(store.write(collector, piece, cut))
        link = store.write_index(iteration, link, receipts)
    return link


def contents(chunks: Iterable[Chunk]) -> list[tuple[Any, ...]]:
    """Every bit of every chunk, in a form that compares."""
    values = ([getattr(chunk, field.name) for field in fields(Chunk)] for chunk in chunks)
    return [
        tuple((v.dtype, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in chunk) for chunk in values
    ]


def receipts_of(store: ReplayStore, link: Link | None) -> list[Receipt]:
    return [receipt for index in store.history(link) for receipt in index.receipts]


def files_of(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


def logical(chunks: Sequence[Chunk]) -> bytes:
    return b"".join(chunk.logical_bytes() for chunk in chunks)
