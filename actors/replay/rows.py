"""A chunk as rows and back. One row is up to 20 consecutive steps of one episode, with its frames as zstd bytes.

Legend: N steps, R rows, S = 20 slots of a row (those past `count` are zero), frames (3, 64, 64) uint8.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.replay.manifest import ChunkRecord
from learners.experience import Chunk

STEPS_PER_ROW = 20
"""Read together: groups of 20 compress 103× (Pong) and a random window of 21 frames touches two or three of them."""
FRAME_SHAPE = (3, 64, 64)
ROW = np.dtype(
    [
        ("iteration", "<i8"),
        ("environment", "<i8"),
        ("start", "<i8"),
        ("count", "<i8"),
        ("policy_version", "<i8"),
        ("episode", "<i8"),
        ("episode_step", "<i4"),
        ("actions", "<i4", (STEPS_PER_ROW,)),
        ("rewards", "<f4", (STEPS_PER_ROW,)),
        ("terminated", "u1", (STEPS_PER_ROW,)),
        ("truncated", "u1", (STEPS_PER_ROW,)),
        ("frames_crc32", "<u4"),
    ]
)
"""Everything of a row but the frames; `start` and `episode_step` are those of its first step, `frames_crc32` is of the
compressed frames. The row's own CRC32 is taken over these 256 bytes as they lie here."""

_STEP = np.dtype(
    [
        ("iteration", "<i8"),
        ("environment", "<i8"),
        ("step", "<i8"),
        ("episode", "<i8"),
        ("episode_step", "<i4"),
        ("action", "<i4"),
        ("reward", "<f4"),
        ("terminated", "u1"),
        ("truncated", "u1"),
        ("frame", "u1", FRAME_SHAPE),
    ]
)
_CODEC = pa.Codec("zstd", compression_level=1)


def rows_of(chunk: Chunk) -> tuple[NDArray[np.void], list[bytes]]:
    """The chunk's R rows and the compressed frames of each; `chunk` has passed `check`."""
    episode_starts = [0, *(np.flatnonzero(np.diff(chunk.episodes)) + 1).tolist(), len(chunk)]
    firsts = [first for begin, end in pairwise(episode_starts) for first in range(begin, end, STEPS_PER_ROW)]
    rows = np.zeros(len(firsts), ROW)
    blobs: list[bytes] = []
    for row, first, end in zip(rows, firsts, [*firsts[1:], len(chunk)], strict=True):
        count = end - first
        frames = np.ascontiguousarray(chunk.frames[first:end])
        blobs.append(_CODEC.compress(frames.tobytes(), asbytes=True))
        row["iteration"], row["environment"], row["start"] = chunk.iteration, chunk.environment, chunk.start + first
        row["count"], row["policy_version"] = count, chunk.policy_version
        row["episode"], row["episode_step"] = chunk.episodes[first], chunk.episode_steps[first]
        for column in ("actions", "rewards", "terminated", "truncated"):
            row[column][:count] = getattr(chunk, column)[first:end]
        row["frames_crc32"] = zlib.crc32(blobs[-1])
    return rows, blobs


def chunk_of(rows: NDArray[np.void], frames: Iterable[NDArray[np.uint8]]) -> Chunk:
    """Undoes `rows_of`: the chunk whose rows these are, from `rows` (R,) and the frames (count, 3, 64, 64) of each."""
    counts = rows["count"]
    held = np.arange(STEPS_PER_ROW) < counts[:, None]  # (R, S)
    ends = counts.cumsum()
    steps = np.arange(ends[-1]) - np.repeat(ends - counts, counts)  # (N,), within the row
    everything = np.empty((ends[-1], *FRAME_SHAPE), np.uint8)
    for end, part in zip(ends, frames, strict=True):
        everything[end - len(part) : end] = part
    return Chunk(
        iteration=int(rows["iteration"][0]),
        environment=int(rows["environment"][0]),
        start=int(rows["start"][0]),
        policy_version=int(rows["policy_version"][0]),
        frames=everything,
        actions=rows["actions"][held].astype(np.int32),  # (R, S) -> (N,)
        rewards=rows["rewards"][held].astype(np.float32),
        terminated=rows["terminated"][held].astype(np.bool_),
        truncated=rows["truncated"][held].astype(np.bool_),
        episodes=np.repeat(rows["episode"], counts).astype(np.int64),
        episode_steps=(np.repeat(rows["episode_step"], counts) + steps).astype(np.int32),
    )


def decompress(blob: pa.Buffer | bytes, count: int) -> NDArray[np.uint8]:
    """(count, 3, 64, 64), read-only. Raises OSError unless `blob` holds exactly that many bytes, and writes no more."""
    frames = _CODEC.decompress(blob, decompressed_size=count * int(np.prod(FRAME_SHAPE)))
    return np.frombuffer(frames, np.uint8).reshape(count, *FRAME_SHAPE)


def record_of(chunk: Chunk) -> ChunkRecord:
    """Name and content hash of the chunk, as the manifest keeps them."""
    digest = hashlib.sha256(b"policy version %d\n" % chunk.policy_version)
    digest.update(step_bytes(chunk))
    return ChunkRecord(
        iteration=int(chunk.iteration),
        environment=int(chunk.environment),
        start=int(chunk.start),
        num_steps=len(chunk),
        num_episodes=int(np.count_nonzero(chunk.episode_steps == 0)),
        digest=digest.hexdigest(),
    )


def step_bytes(chunk: Chunk) -> bytes:
    """The logical content, a fixed number of bytes per step: those of two chunks in a row are those of their union."""
    steps = np.zeros(len(chunk), _STEP)
    steps["iteration"], steps["environment"] = chunk.iteration, chunk.environment
    steps["step"] = chunk.start + np.arange(len(chunk))
    steps["episode"], steps["episode_step"] = chunk.episodes, chunk.episode_steps
    steps["action"], steps["reward"] = chunk.actions, chunk.rewards
    steps["terminated"], steps["truncated"] = chunk.terminated, chunk.truncated
    steps["frame"] = chunk.frames
    return steps.tobytes()


def check(chunk: Chunk) -> None:
    """Raises ValueError, in one line with found and expected, unless the chunk is well formed.

    Well formed: exact dtypes and shapes, at least one step, finite rewards; within an episode steps count up by one
    and nothing follows its end; a later episode has a greater id and begins at step 0.
    """
    if chunk.iteration < 1 or min(chunk.environment, chunk.start, chunk.policy_version) < 0:
        raise ValueError(f"{_name(chunk)}: expected iteration >= 1 and nothing negative")
    steps = len(chunk)
    if steps == 0:
        raise ValueError(f"{_name(chunk)}: found 0 steps, expected at least 1")
    columns = {
        "frames": ("uint8", (steps, *FRAME_SHAPE)),
        "actions": ("int32", (steps,)),
        "rewards": ("float32", (steps,)),
        "terminated": ("bool", (steps,)),
        "truncated": ("bool", (steps,)),
        "episodes": ("int64", (steps,)),
        "episode_steps": ("int32", (steps,)),
    }
    for name, (dtype, shape) in columns.items():
        found = getattr(chunk, name)
        if found.dtype != dtype or found.shape != shape:
            raise ValueError(f"{_name(chunk)}: {name} is {found.dtype} {found.shape}, expected {dtype} {shape}")
    if not np.isfinite(chunk.rewards).all():
        step = int(np.argmin(np.isfinite(chunk.rewards)))
        raise ValueError(f"{_name(chunk)}: reward {step} is {chunk.rewards[step]}, expected a finite number")
    _check_episodes(chunk)


def _check_episodes(chunk: Chunk) -> None:
    if chunk.episodes[0] < 0 or chunk.episode_steps[0] < 0:
        raise ValueError(f"{_name(chunk)}: episode ids and steps count from 0")
    same = np.diff(chunk.episodes) == 0
    ended = (chunk.terminated | chunk.truncated)[:-1]
    counts_up = (np.diff(chunk.episode_steps) == 1) & ~ended
    begins = (np.diff(chunk.episodes) > 0) & (chunk.episode_steps[1:] == 0)
    broken = np.flatnonzero(~np.where(same, counts_up, begins))
    if len(broken):
        step = int(broken[0])
        before, after = (f"episode {chunk.episodes[i]} step {chunk.episode_steps[i]}" for i in (step, step + 1))
        end = ", where it ended," if ended[step] else ""
        raise ValueError(f"{_name(chunk)}: {before}{end} is followed by {after}")


def _name(chunk: Chunk) -> str:
    return f"chunk of iteration {chunk.iteration}, environment {chunk.environment}, start {chunk.start}"
