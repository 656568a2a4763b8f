"""One file of experience: a collector's piece of one iteration, as bytes and back.

A file is in the safetensors format, which any program can read: a header in JSON, then tensors. All but the last are
small: what a step has beside its frame (`steps.*`, N values each) and where the groups of steps begin (`groups.*`, G
values each). The last, `frames`, is the zstd bytes of one group's frames after the other's. A group is up to 20
consecutive steps of one episode; groups lie in the order of environment and time. Everything before `frames` is the
file's head, read alone where frames stay on the disk. The bytes depend on the steps alone.

Legend: N steps, G groups, frames (3, 64, 64) uint8.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from learners.experience import COLUMNS, FRAME_SHAPE, Chunk

GROUP_STEPS = 20
"""Compressed together: groups of 20 compress Pong 103×, and a random window of 21 frames touches two or three."""
GROUP = np.dtype(
    [
        ("environment", "<i8"),
        ("start", "<i8"),
        ("count", "<i8"),
        ("episode", "<i8"),
        ("episode_step", "<i8"),
        ("end", "<i8"),
        ("crc32", "<u4"),
    ]
)
"""`start` and `episode_step` are those of its first step, `end` is where its bytes end in `frames`, which `crc32` is
of."""
STEP_COLUMNS = tuple(name for name in COLUMNS if name not in ("frames", "episodes", "episode_steps"))
FORMAT = "iris-ray experience 1"
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
"""All that a head of any content makes `Head.of` raise."""
_CODEC = pa.Codec("zstd", compression_level=1)
_NAMES = {"BOOL": "?", "U8": "|u1", "I32": "<i4", "I64": "<i8", "U32": "<u4", "F32": "<f4"}
_TYPES = {np.dtype(code): name for name, code in _NAMES.items()}
_MAX_HEADER = 1 << 20


def pack(chunks: Sequence[Chunk]) -> tuple[bytes, int]:
    """A file of these chunks, each of another environment, in their order; and how long its head is.

    Raises: ValueError, in one line, for a malformed chunk.
    """
    for chunk in chunks:
        chunk.check()
    blobs: list[bytes] = []
    groups: list[tuple[int, ...]] = []
    end = 0
    for chunk in chunks:
        for first, stop in _groups_of(chunk):
            blobs.append(_CODEC.compress(np.ascontiguousarray(chunk.frames[first:stop]).tobytes(), asbytes=True))
            end += len(blobs[-1])
            place = chunk.environment, chunk.start + first, stop - first
            episode = int(chunk.episodes[first]), int(chunk.episode_steps[first])
            groups.append((*place, *episode, end, zlib.crc32(blobs[-1])))
    table = np.array(groups, GROUP)
    tensors = {f"groups.{name}": np.ascontiguousarray(table[name]) for name in GROUP.names or ()}
    tensors |= {f"steps.{name}": np.concatenate([getattr(each, name) for each in chunks]) for name in STEP_COLUMNS}
    metadata = {
        "format": FORMAT,
        "iteration": str(chunks[0].iteration),
        "policy_version": str(chunks[0].policy_version),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, tensor in tensors.items():
        span = [offset, offset := offset + tensor.nbytes]
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
    header["frames"] = {"dtype": "U8", "shape": [end], "data_offsets": [offset, offset + end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = b"".join([len(text).to_bytes(8, "little"), text, *(tensor.tobytes() for tensor in tensors.values())])
    return b"".join([head, *blobs]), len(head)


@dataclass(frozen=True)
class Head:
    """Everything of a file but the frames."""

    iteration: int
    policy_version: int
    groups: NDArray[np.void]  # (G,) of GROUP
    steps: Mapping[str, NDArray[Any]]  # name in STEP_COLUMNS -> (N, ...)

    @classmethod
    def of(cls, data: bytes, size: int) -> Head:
        """Of the head of a file of `size` bytes. Raises: one of MALFORMED, unless it is what `pack` makes."""
        length = int.from_bytes(data[:8], "little")
        if length > min(_MAX_HEADER, len(data) - 8):
            raise ValueError("it has no header")
        header = json.loads(data[8 : 8 + length])
        metadata, base = header.pop("__metadata__"), 8 + length
        if metadata["format"] != FORMAT:
            raise ValueError(f"found {str(metadata['format'])[:60]!r}, expected {FORMAT!r}")
        names = [*(f"groups.{name}" for name in GROUP.names or ()), *(f"steps.{name}" for name in STEP_COLUMNS)]
        if list(header) != [*names, "frames"]:
            raise ValueError(f"found the tensors {', '.join(header)[:200]}, expected those of {FORMAT!r}")
        tensors: dict[str, NDArray[Any]] = {}
        offset = 0
        for name in names:
            dtype, shape = np.dtype(_NAMES[header[name]["dtype"]]), tuple(header[name]["shape"])
            if not all(type(each) is int and each >= 0 for each in shape):
                raise ValueError(f"{name} has an impossible shape")
            span = [offset, offset := offset + dtype.itemsize * prod(shape)]
            if header[name]["data_offsets"] != span or base + offset > len(data):
                raise ValueError(f"{name} does not lie where it should")
            tensors[name] = np.frombuffer(data, dtype, prod(shape), base + span[0]).reshape(shape)
        frames = {"dtype": "U8", "shape": [size - len(data)], "data_offsets": [offset, offset + size - len(data)]}
        if header["frames"] != frames or base + offset != len(data):
            raise ValueError("frames do not lie where they should")
        table = np.zeros(len(tensors["groups.count"]), GROUP)
        for name in GROUP.names or ():
            if tensors[f"groups.{name}"].dtype != GROUP[name] or tensors[f"groups.{name}"].ndim != 1:
                raise ValueError(f"groups.{name} is {tensors[f'groups.{name}'].dtype}, expected {GROUP[name]}")
            table[name] = tensors[f"groups.{name}"]
        steps = {name: tensors[f"steps.{name}"] for name in STEP_COLUMNS}
        head = cls(int(metadata["iteration"]), int(metadata["policy_version"]), table, steps)
        head._check(size - len(data))
        return head

    def _check(self, frames_size: int) -> None:
        table, num_steps = self.groups, len(self.steps["rewards"])
        before = np.concatenate([[0], table["end"][:-1]])
        if not len(table) or table["count"].min() < 1 or table["count"].max() > GROUP_STEPS:
            raise ValueError(f"a group is empty, or of more than {GROUP_STEPS} steps")
        if int(table["count"].sum()) != num_steps or any(len(each) != num_steps for each in self.steps.values()):
            raise ValueError("its groups and its steps are not as many")
        if (table["end"] <= before).any() or table["end"][-1] != frames_size:
            raise ValueError("its groups do not fill its frames")
        if any(self.steps[name].view(np.uint8).max() > 1 for name in ("terminated", "truncated")):
            raise ValueError("a flag is neither 0 nor 1")
        for first, stop in self.spans():
            self.chunk(first, stop, np.empty((0, *FRAME_SHAPE), np.uint8)).check(without_frames=True)
            if (table["start"][first + 1 : stop] != (table["start"] + table["count"])[first : stop - 1]).any():
                raise ValueError(f"steps of environment {table['environment'][first]} are missing")

    @property
    def num_episodes(self) -> int:
        """That begin in it."""
        return int(np.count_nonzero(self.groups["episode_step"] == 0))

    def spans(self) -> Iterator[tuple[int, int]]:
        """First group of each environment and the group after its last, in the order of environments."""
        changes = np.flatnonzero(np.diff(self.groups["environment"])) + 1
        return pairwise([0, *changes.tolist(), len(self.groups)])

    def chunk(self, first: int, stop: int, frames: NDArray[np.uint8]) -> Chunk:
        """The steps of some groups of one environment, with the frames of theirs that are given."""
        table = self.groups[first:stop]
        begin = int(self.groups["count"][:first].sum())
        steps = slice(begin, begin + int(table["count"].sum()))
        within = np.concatenate([np.arange(count) for count in table["count"]])  # a step's place in its group
        return Chunk(
            iteration=self.iteration,
            environment=int(table["environment"][0]),
            start=int(table["start"][0]),
            policy_version=self.policy_version,
            frames=frames,
            episodes=np.repeat(table["episode"], table["count"]).astype(np.int64),
            episode_steps=(np.repeat(table["episode_step"], table["count"]) + within).astype(np.int32),
            **{name: column[steps] for name, column in self.steps.items()},
        )


def head_size_of(data: bytes) -> int:
    """Of a whole file. Raises: one of MALFORMED if it has no header."""
    length = int.from_bytes(data[:8], "little")
    if length > min(_MAX_HEADER, len(data) - 8):
        raise ValueError("it has no header")
    begin = json.loads(data[8 : 8 + length])["frames"]["data_offsets"][0]
    if type(begin) is not int or not 0 <= begin <= len(data) - 8 - length:
        raise ValueError("frames do not lie where they should")
    return 8 + length + begin


def frames_of(blob: bytes, groups: NDArray[np.void]) -> NDArray[np.uint8]:
    """(N, 3, 64, 64) of the bytes of consecutive groups, read-only. Raises ValueError unless they are as written.

    Frames of zstd that follow each other decompress in one call.
    """
    view, begin = memoryview(blob), 0
    for end, crc32 in zip((groups["end"] - groups["end"][-1] + len(blob)).tolist(), groups["crc32"], strict=True):
        if zlib.crc32(view[begin:end]) != crc32:
            raise ValueError("frames fail their CRC32")
        begin = end
    count = int(groups["count"].sum())
    try:
        frames = _CODEC.decompress(blob, decompressed_size=count * prod(FRAME_SHAPE))
    except OSError as error:
        raise ValueError(f"frames cannot be decompressed ({error})") from error
    return np.frombuffer(frames, np.uint8).reshape(count, *FRAME_SHAPE)


def _groups_of(chunk: Chunk) -> Iterator[tuple[int, int]]:
    """First step of each group and the step after its last: an episode is cut from where it begins in the chunk."""
    episodes = [0, *(np.flatnonzero(np.diff(chunk.episodes)) + 1).tolist(), len(chunk)]
    for begin, end in pairwise(episodes):
        for first in range(begin, end, GROUP_STEPS):
            yield first, min(first + GROUP_STEPS, end)
