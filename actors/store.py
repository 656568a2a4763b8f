"""The durable experience of a run: where its files lie, how they are written, read, verified and cleared away.

    replay/000007/0000-0003-6a0f….safetensors   piece 3 of collector 0 in iteration 7, named by its content
    replay/000007/index-91c2….json              the receipts of iteration 7's files, and which index came before
    replay/quarantine/                          what was damaged, each with the reason beside it

Nobody keeps the store open: a collector writes its own pieces, the driver an index for each iteration, and what no
commit leads to did not happen (`store_index.py`). Logical order is that of (iteration, environment, start), whatever
the files are.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.damage import Damage, DamagedExperienceError
from actors.store_file import MALFORMED, Head, frames_of, head_size_of, pack
from actors.store_index import INDEX_NAME, PIECE_NAME, Index, Link, Receipt
from learners import durable
from learners.experience import FRAME_SHAPE, Chunk
from learners.reading import open_regular

QUARANTINE = "quarantine"
MAX_INDEX_BYTES = 1 << 26
MAX_CANDIDATES = 256
"""Ways to rebuild an index that are tried."""
MAX_NEIGHBOURS = 8
"""Damaged indices in a row that are rebuilt."""
MAX_PIECE_BYTES = 1 << 28
NUMBER = re.compile(r"[0-9]{6,15}")
VISIBLE_WITHIN_S = 10.0
"""How long a file may take to be seen on another node, once it has a receipt."""


@dataclass(frozen=True)
class ReplayStore:
    """A directory of experience. It holds nothing open, so any process may have one; one process a run changes what
    is there beside adding to it: the driver."""

    directory: Path
    run: str
    """Name of the run whose experience it is."""

    def make_directory(self, iteration: int) -> None:
        """Where collectors then write; they make none themselves."""
        durable.make_directory(self.directory / f"{iteration:06d}")

    def write(self, collector: int, piece: int, chunks: Sequence[Chunk]) -> Receipt:
        """Makes a piece of an iteration durable: chunks each of another environment, in the order of environments.

        Raises: ValueError for a malformed chunk, OSError if the disk fails or the iteration has no directory.
        """
        data, head = pack(chunks)
        receipt = Receipt(
            iteration=chunks[0].iteration,
            collector=collector,
            piece=piece,
            size=len(data),
            sha256=sha256(data).hexdigest(),
            head=head,
            head_sha256=sha256(data[:head]).hexdigest(),
            steps=sum(map(len, chunks)),
            episodes=sum(chunk.num_episodes for chunk in chunks),
        )
        durable.write_durably(self.directory / receipt.file, data)
        return receipt

    def write_index(self, iteration: int, previous: Link | None, receipts: Sequence[Receipt]) -> Link:
        """Makes the receipts of an iteration durable; what a commit is to hold."""
        ordered = sorted(receipts, key=lambda each: (each.collector, each.piece))
        index = Index(run=self.run, iteration=iteration, previous=previous, receipts=tuple(ordered))
        durable.write_durably(self.directory / index.link.file, index.content)
        return index.link

    def history(self, newest: Link | None) -> list[Index]:
        """The indices that lead to `newest`, oldest first; one that is damaged is told from the files it named.

        Raises: DamagedExperienceError if that cannot be done.
        """
        return [index for index, _ in self._walk(newest)][::-1]

    def damaged_indices(self, newest: Link | None) -> list[Damage]:
        """What is wrong with the indices that lead to `newest`. Raises DamagedExperienceError where `history` does."""
        return [damage for _, damage in self._walk(newest) if damage]

    def restore_indices(self, newest: Link | None) -> list[Damage]:
        """Puts damaged indices into quarantine and writes them anew; what was wrong."""
        found = [(index, damage) for index, damage in self._walk(newest) if damage]
        for index, damage in found:
            self.quarantine(damage)
            durable.write_durably(self.directory / index.link.file, index.content)
        return [damage for _, damage in found]

    def missing(self, receipt: Receipt) -> Damage | None:
        """Whether a file is not there, or not of its size; cheaply."""
        try:
            os.close(self._open(receipt))
        except (OSError, ValueError) as error:
            return _damage(receipt, error)
        return None

    def piece(self, receipt: Receipt, *, whole: bool, patience_s: float = 0.0) -> Piece:
        """A file as its receipt vouches for it. Raises DamagedExperienceError, also if the disk fails.

        Args:
            whole: reads all of it, once; otherwise its head alone, and frames whenever they are asked for.
            patience_s: how long a file that is not there may take to appear.
        """
        deadline = time.monotonic() + patience_s
        while not os.path.exists(self.directory / receipt.file) and time.monotonic() < deadline:
            time.sleep(0.05)
        return Piece(self, receipt, whole=whole)

    def chunks(self, receipts: Sequence[Receipt], *, patience_s: float = 0.0) -> Iterator[Chunk]:
        """The steps of some files of one iteration, in logical order. Raises DamagedExperienceError."""
        for piece, first, stop in in_order([self.piece(each, whole=True, patience_s=patience_s) for each in receipts]):
            yield piece.chunk(first, stop)

    def all_chunks(self, newest: Link | None, lost: Collection[Receipt] = ()) -> Iterator[Chunk]:
        """All steps up to an index, but those of `lost` files, in logical order. Raises DamagedExperienceError."""
        for index in self.history(newest):
            yield from self.chunks([each for each in index.receipts if each not in lost])

    def quarantine(self, damage: Damage) -> None:
        """Moves a damaged file into `quarantine/`, the reason first; one that is gone leaves its reason only."""
        assert damage.file is not None
        shelter = self.directory / QUARANTINE / damage.file.replace("/", "-")
        durable.make_directory(shelter.parent)
        durable.write_durably(shelter.with_name(f"{shelter.name}.txt"), f"{damage}\n".encode())
        if os.path.lexists(self.directory / damage.file):
            durable.rename_durably(self.directory / damage.file, shelter)

    def strays(self, history: Sequence[Index]) -> list[Path]:
        """What lies in the store and none of these indices names: of abandoned attempts, of processes that outlived
        their run, unfinished. A directory of an iteration that has no index is one itself."""
        named = {self.directory / each.link.file for each in history}
        named |= {self.directory / each.file for index in history for each in index.receipts}
        kept = {path.parent for path in named}
        found: list[Path] = []
        for entry in _entries(self.directory, may_be_link=True):
            if entry in kept:
                found += [each for each in _entries(entry) if each not in named]
            elif entry.name != QUARANTINE:
                found.append(entry)
        return found

    def clear(self, history: Sequence[Index]) -> None:
        """Removes every stray. Whoever could still write one must have answered before."""
        for path in self.strays(history):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                durable.unlink(path)

    def newest_iteration(self) -> int:
        """Of which something is stored, committed or not; 0 if there is nothing."""
        names = [entry.name for entry in _entries(self.directory, may_be_link=True) if _entries(entry)]
        return max((int(name) for name in names if NUMBER.fullmatch(name)), default=0)

    def _open(self, receipt: Receipt) -> int:
        descriptor = open_regular(self.directory / receipt.file, os.O_NOFOLLOW)
        if (size := os.fstat(descriptor).st_size) != receipt.size:
            os.close(descriptor)
            raise ValueError(f"found {size} bytes, expected {receipt.size}")
        return descriptor

    def _walk(self, newest: Link | None) -> Iterator[tuple[Index, Damage | None]]:
        """From the newest to the oldest."""
        while newest:
            index, damage = self._index(newest)
            yield index, damage
            newest = index.previous

    def _index(self, link: Link) -> tuple[Index, Damage | None]:
        """The index, and what is wrong with its file, if so. Raises DamagedExperienceError if there is no other way."""
        try:
            descriptor = open_regular(self.directory / link.file, os.O_NOFOLLOW)
            with open(descriptor, "rb") as file:
                content = file.read(MAX_INDEX_BYTES)
            if sha256(content).hexdigest() != link.sha256:
                raise ValueError("its sha256 is not the one expected")
            index = Index.of(content)
            if index.run != self.run:
                raise ValueError(f"belongs to run {index.run!r}, expected {self.run!r}")
            return index, None
        except OSError as error:
            damage = Damage(link.file, error.strerror or "it cannot be read")
        except (ValueError, RecursionError) as error:
            damage = Damage(link.file, " ".join(str(error).split())[:300])
        for index in islice(self._candidates(link.iteration), MAX_CANDIDATES):
            if index.link == link:
                return index, damage
        reason = f"{damage.reason}, and the files of its iteration do not tell what it held"
        raise DamagedExperienceError(Damage(link.file, reason))

    def _candidates(self, iteration: int, neighbours: int = MAX_NEIGHBOURS) -> Iterator[Index]:
        """What an index can have been, from the files that are there; so many before it may be damaged as well."""
        by_place: dict[tuple[int, int], list[Receipt]] = {}
        for path in _entries(self.directory / f"{iteration:06d}"):
            if (match := PIECE_NAME.fullmatch(path.name)) and (receipt := _receipt_of(path, iteration)):
                by_place.setdefault((int(match[1]), int(match[2])), []).append(receipt)
        places = [by_place[place] for place in sorted(by_place)]
        for receipts in product(*places):
            for before in self._previous(iteration, neighbours):
                yield Index(run=self.run, iteration=iteration, previous=before, receipts=receipts)

    def _previous(self, iteration: int, neighbours: int) -> Iterator[Link | None]:
        """Which index can have come before that of an iteration."""
        numbers = [int(each.name) for each in _entries(self.directory, may_be_link=True) if NUMBER.fullmatch(each.name)]
        if not (earlier := [number for number in numbers if number < iteration]):
            yield None
            return
        directory = self.directory / f"{max(earlier):06d}"
        names = [match[1] for each in _entries(directory) if (match := INDEX_NAME.fullmatch(each.name))]
        found = [link for name in names if (link := _link_of(directory, name))]
        yield from found
        if neighbours and not found:
            yield from (index.link for index in self._candidates(max(earlier), neighbours - 1))


class Piece:
    """A file of experience, checked. Whatever is wrong with it raises DamagedExperienceError."""

    def __init__(self, store: ReplayStore, receipt: Receipt, *, whole: bool) -> None:
        self.receipt = receipt
        self._store = store
        data = self._read(0, receipt.size if whole else receipt.head)
        expected, found = receipt.sha256 if whole else receipt.head_sha256, sha256(data).hexdigest()
        if found != expected:
            raise DamagedExperienceError(_damage(receipt, ValueError("its sha256 is not its receipt's")))
        try:
            self.head = Head.of(data[: receipt.head], receipt.size)
            if self.head.iteration != receipt.iteration or len(self.head.steps["rewards"]) != receipt.steps:
                raise ValueError("it holds other steps than its receipt says")
        except MALFORMED as error:
            raise DamagedExperienceError(_damage(receipt, error)) from error
        self._frames = memoryview(data)[receipt.head :] if whole else None

    def frames(self, first: int, stop: int) -> NDArray[np.uint8]:
        """(N, 3, 64, 64) of consecutive groups, read-only."""
        groups = self.head.groups[first:stop]
        begin, end = int(self.head.groups["end"][first - 1]) if first else 0, int(groups["end"][-1])
        if self._frames is None:
            blob = self._read(self.receipt.head + begin, end - begin)
        else:
            blob = bytes(self._frames[begin:end])
        try:
            return frames_of(blob, groups)
        except ValueError as error:
            raise DamagedExperienceError(_damage(self.receipt, error)) from error

    def chunk(self, first: int, stop: int) -> Chunk:
        """The steps of some groups of one environment, with their frames."""
        return self.head.chunk(first, stop, self.frames(first, stop))

    def chunk_without_frames(self, first: int, stop: int) -> Chunk:
        """The same; its frames stay where they are."""
        return self.head.chunk(first, stop, np.empty((0, *FRAME_SHAPE), np.uint8))

    def forget_steps(self) -> None:
        """Keeps no more of the head than frames need."""
        self.head = replace(self.head, steps={})

    def _read(self, begin: int, length: int) -> bytes:
        try:
            descriptor = self._store._open(self.receipt)
            try:
                return _pread(descriptor, begin, length)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise DamagedExperienceError(_damage(self.receipt, error)) from error


def in_order(pieces: Sequence[Piece]) -> list[tuple[Piece, int, int]]:
    """Stretches of one environment each (piece, first group, the group after the last), in logical order."""
    found = [(piece, first, stop) for piece in pieces for first, stop in piece.head.spans()]

    def place(stretch: tuple[Piece, int, int]) -> tuple[int, int]:
        group = stretch[0].head.groups[stretch[1]]
        return int(group["environment"]), int(group["start"])

    return sorted(found, key=place)


def _damage(receipt: Receipt, error: Exception) -> Damage:
    words = error.strerror if isinstance(error, OSError) else str(error)
    reason = " ".join((words or type(error).__name__).split())[:300]
    missing = f"{receipt.steps} steps of iteration {receipt.iteration}, collector {receipt.collector}"
    return Damage(receipt.file, reason, missing)


def _pread(descriptor: int, begin: int, length: int) -> bytes:
    """Exactly so many bytes. Raises: OSError, ValueError if the file ends before."""
    data = os.pread(descriptor, length, begin)
    while len(data) < length and (more := os.pread(descriptor, length - len(data), begin + len(data))):
        data += more
    if len(data) < length:
        raise ValueError("it has become shorter")
    return data


def _receipt_of(path: Path, iteration: int) -> Receipt | None:
    """What a file says of itself; None unless it says something."""
    match = PIECE_NAME.fullmatch(path.name)
    assert match
    with suppress(OSError, *MALFORMED):
        with open(open_regular(path, os.O_NOFOLLOW), "rb") as file:
            data = file.read(MAX_PIECE_BYTES)
        head_size = head_size_of(data)
        head = Head.of(data[:head_size], len(data))
        return Receipt(
            iteration=iteration,
            collector=int(match[1]),
            piece=int(match[2]),
            size=len(data),
            sha256=sha256(data).hexdigest(),
            head=head_size,
            head_sha256=sha256(data[:head_size]).hexdigest(),
            steps=len(head.steps["rewards"]),
            episodes=head.num_episodes,
        )
    return None


def _link_of(directory: Path, name: str) -> Link | None:
    """Of an index whose content is what its name says; None if it is not."""
    with suppress(OSError, ValueError):
        with open(open_regular(directory / f"index-{name}.json", os.O_NOFOLLOW), "rb") as file:
            found = sha256(file.read(MAX_INDEX_BYTES)).hexdigest()
        if found.startswith(name):
            return Link(iteration=int(directory.name), sha256=found)
    return None


def _entries(directory: Path, *, may_be_link: bool = False) -> list[Path]:
    """What lies there, sorted; nothing where it cannot be read, or is a link that must not be followed."""
    with suppress(OSError):
        return sorted(directory.iterdir()) if may_be_link or not directory.is_symlink() else []
    return []
