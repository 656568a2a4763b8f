"""The durable memory of a run: every acknowledged step, on disk, in logical order (iteration, environment, start).

A store is a directory: `manifest.jsonl`, the files it names, `chunk-*.arrow` (one appended chunk) and `segment-*.arrow`
(many, joined by `seal`), and `quarantine/`, what was damaged. One process opens it to write at a time.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.replay.audit import audit
from actors.replay.damage import Damage, DamagedSegmentError
from actors.replay.manifest import ChunkRecord, Entry
from actors.replay.rows import check, record_of, rows_of, step_bytes
from actors.replay.segment_directory import SegmentDirectory
from learners.experience import Chunk

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Receipt:
    """Proof that a chunk is on disk; the same for the same chunk, however often it is appended."""

    name: str
    """Run, iteration, environment, start and count: what makes two chunks the same."""
    num_steps: int
    digest: str
    """sha256 of the chunk's content."""


@dataclass(frozen=True)
class StoreState:
    """Counts that belong together; what a commit records."""

    generation: int
    num_steps: int
    num_episodes: int


class ReplayStore:
    """Stores chunks once, gives them back bit for bit. Not thread-safe.

    After an exception the store is as before the call or as after it, and the call may be made again.
    """

    def __init__(self, directory: Path | str, run_id: str, *, seal_steps: int = 8192, read_only: bool = False) -> None:
        """Opens the store or creates it; what a crash left unfinished is finished or undone.

        Args:
            run_id: up to 100 letters, digits, dots, dashes and underscores; stored with every file.
            seal_steps: a sealed segment has at least this many steps.
            read_only: changes nothing on the disk and shows what opening to write would make of it; a directory that
                is missing is an empty store. Whatever changes something fails an assertion.

        Raises: ValueError for another run's store, an unknown format version or an impossible argument. Damage raises
            nothing here: `verify` lists it, reading or changing what is damaged raises DamagedSegmentError.
        """
        if not _RUN_ID.fullmatch(run_id):
            raise ValueError(f"run id: found {run_id!r}, expected up to 100 letters, digits, '.', '-' and '_'")
        if seal_steps < 1:
            raise ValueError(f"seal_steps: found {seal_steps}, expected at least 1")
        self._run_id = run_id
        self._seal_steps = seal_steps
        self._files = SegmentDirectory(Path(directory).absolute(), run_id, read_only=read_only)
        self._turns: defaultdict[tuple[int, int], dict[int, tuple[ChunkRecord, Entry]]] = defaultdict(dict)
        self._generation_of_turns = -1

    def append(self, chunk: Chunk) -> Receipt:
        """Makes the chunk durable, then acknowledges; a chunk that is stored already is only acknowledged.

        Raises: ValueError for a malformed chunk, for other content under a stored chunk's name and for steps that
            overlap stored ones; OSError if the disk fails.
        """
        check(chunk)
        new = record_of(chunk)
        file = new.name(self._run_id)
        receipt = Receipt(file.removesuffix(".arrow"), new.num_steps, new.digest)
        turn = self._index()[new.iteration, new.environment]
        for stored, _ in turn.values():
            if stored == new:
                return receipt
            if stored.span == new.span:
                raise ValueError(f"{receipt.name} is stored already, with other content")
            if stored.start < new.start + new.num_steps and new.start < stored.start + stored.num_steps:
                raise ValueError(f"{receipt.name} overlaps the stored {stored.name(self._run_id)}")
        turn[new.start] = (new, self._files.add(file, new, *rows_of(chunk)))
        self._generation_of_turns = self._files.generation
        return receipt

    def truncate(self, last_iteration: int) -> None:
        """Drops the steps of all iterations after `last_iteration`: they are from a future that did not happen.

        Raises: DamagedSegmentError if a sealed file must be split and cannot be read.
        """
        kept: list[Entry] = []
        split: list[list[ChunkRecord]] = []
        for entry in self._files.entries.values():
            past = [chunk for chunk in entry.chunks if chunk.iteration <= last_iteration]
            if len(past) == len(entry.chunks):
                kept.append(entry)
            elif past:
                split.append(past)
        self._files.replace(kept, split)

    def seal(self, last_iteration: int) -> int:
        """Joins the chunk files of iterations up to `last_iteration` into segments of at least `seal_steps` steps.

        What does not fill a segment stays as it is. Give the iteration of the oldest kept checkpoint: truncating to an
        earlier one has to split a segment.

        Returns: number of segments written.
        Raises: DamagedSegmentError if a chunk cannot be read; nothing has changed then.
        """
        groups: list[list[ChunkRecord]] = [[]]
        for chunk, entry in self._in_order(1, last_iteration):
            if not entry.is_sealed:
                groups[-1].append(chunk)
                if sum(chunk.num_steps for chunk in groups[-1]) >= self._seal_steps:
                    groups.append([])
        groups.pop()
        joined = {chunk for group in groups for chunk in group}
        kept = [entry for entry in self._files.entries.values() if not joined.issuperset(entry.chunks)]
        self._files.replace(kept, groups)
        return len(groups)

    def chunks(self, first_iteration: int = 1, last_iteration: int | None = None) -> Iterator[Chunk]:
        """The chunks of these iterations (both included) as they were appended, in logical order.

        Raises: DamagedSegmentError at the first that cannot be read, and at once if the manifest is damaged.
        """
        self._check_manifest()
        for chunk, _ in self._in_order(first_iteration, last_iteration):
            _, entry = self._index()[chunk.iteration, chunk.environment][chunk.start]  # sealing may have moved it
            yield self._files.open(entry).chunk(chunk)

    @property
    def num_steps(self) -> int:
        return sum(chunk.num_steps for chunk, _ in self._in_order())

    @property
    def num_episodes(self) -> int:
        """Episodes begun, the running ones included."""
        return sum(chunk.num_episodes for chunk, _ in self._in_order())

    @property
    def generation(self) -> int:
        """Counts the changes of the manifest."""
        return self._files.generation

    def steps_of(self, iteration: int) -> int:
        """Number of stored steps of one iteration, over all environments."""
        return sum(chunk.num_steps for chunk, _ in self._in_order(iteration, iteration))

    def steps_by_iteration(self) -> dict[int, int]:
        """Number of stored steps of every iteration that has any, over all environments.

        Raises: DamagedSegmentError if the manifest is damaged.
        """
        self._check_manifest()
        counts: Counter[int] = Counter()
        for chunk, _ in self._in_order():
            counts[chunk.iteration] += chunk.num_steps
        return dict(counts)

    def state(self) -> StoreState:
        """Generation and counts in one call."""
        return StoreState(self.generation, self.num_steps, self.num_episodes)

    def digest(self, last_iteration: int | None = None) -> str:
        """sha256 of the steps up to an iteration, in logical order (iteration, environment, step).

        Hashed are iteration, environment, step, episode, action, reward, flags and frame.

        Neither the files' layout, nor chunk boundaries, nor run id or policy versions change it.
        Raises: DamagedSegmentError.
        """
        hashed = hashlib.sha256()
        for chunk in self.chunks(last_iteration=last_iteration):
            hashed.update(step_bytes(chunk))
        return hashed.hexdigest()

    def verify(self, incomplete: Collection[int] = ()) -> list[Damage]:
        """Reads everything anew: manifest, every file's hash, every row; are steps and episodes contiguous?

        Args:
            incomplete: iterations of which steps are known to be lost, and may be.
        """
        damage = self._files.damage()
        found = [damage] if damage else []
        lost = damage.missing if damage else ()
        return found + audit(self._files.path, self._run_id, list(self._files.entries.values()), lost, incomplete)

    def quarantine(self, damage: Damage) -> None:
        """Moves the damaged file into `quarantine/`, with the reason in a text file beside it; its steps are gone then.

        A damaged manifest is copied there and rebuilt from its intact lines and the intact files the others named.

        Raises: ValueError if the damage names no file of this store, nor one in quarantine already.
        """
        self._files.quarantine(damage)

    def _check_manifest(self) -> None:
        if damage := self._files.damage():
            raise DamagedSegmentError(damage)

    def _index(self) -> defaultdict[tuple[int, int], dict[int, tuple[ChunkRecord, Entry]]]:
        """(iteration, environment) -> start -> the chunk and the file it lies in."""
        if self._generation_of_turns != self._files.generation:
            self._turns.clear()
            for entry in self._files.entries.values():
                for chunk in entry.chunks:
                    self._turns[chunk.iteration, chunk.environment][chunk.start] = (chunk, entry)
            self._generation_of_turns = self._files.generation
        return self._turns

    def _in_order(self, first_iteration: int = 1, last_iteration: int | None = None) -> list[tuple[ChunkRecord, Entry]]:
        return [
            found[start]
            for (iteration, _), found in sorted(self._index().items())
            if iteration >= first_iteration and (last_iteration is None or iteration <= last_iteration)
            for start in sorted(found)
        ]
