"""The files of a store and the manifest that names them: opening, recovery, change.

The manifest alone decides what is stored. A file is durable before its line is written and is removed after its line is
gone, so a crash leaves the state before a change or after it; what else lies in the directory is removed on opening.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.replay.damage import Damage, DamagedSegmentError, Span, merged
from actors.replay.manifest import MANIFEST, SEGMENT_NAME, ChunkRecord, Entry, Manifest
from actors.replay.segment_file import SegmentFile, describe, segment_bytes
from learners import durable

QUARANTINE = "quarantine"
_MAX_OPEN_FILES = 1024


class SegmentDirectory:
    """Directory of one store. A change that raised is finished or undone before anything else happens."""

    def __init__(self, path: Path, run_id: str, *, read_only: bool = False) -> None:
        """Opens or creates. Raises ValueError for another run's manifest or an unknown version."""
        self.path = path
        self.run_id = run_id
        self._read_only = read_only
        self._is_stale = False
        self._open_files: OrderedDict[str, SegmentFile] = OrderedDict()  # least recently used first
        if not read_only:
            durable.make_directory(path)
        self._load()

    @property
    def entries(self) -> dict[str, Entry]:
        """What is stored, by file name."""
        self._refresh()
        return self._manifest.entries

    @property
    def generation(self) -> int:
        """Counts the changes."""
        self._refresh()
        return self._manifest.generation

    def damage(self) -> Damage | None:
        """What is wrong with the manifest; its missing steps are those of the files that no intact line names."""
        self._refresh()
        if self._manifest.problem is None:
            return None
        lost: list[Span] = []
        for file in self._unlisted():
            try:
                lost += describe(self.path, self.run_id, file, generation=0).spans
            except DamagedSegmentError:
                continue  # quarantine() moves it, too
        return Damage(MANIFEST, self._manifest.problem, merged(lost))

    def open(self, entry: Entry) -> SegmentFile:
        """The file's handle; opening costs a hash of the file, so handles are kept. Raises DamagedSegmentError."""
        file = self._open_files.pop(entry.file, None) or SegmentFile(self.path, self.run_id, entry)
        self._open_files[entry.file] = file
        if len(self._open_files) > _MAX_OPEN_FILES:
            self._open_files.popitem(last=False)
        return file

    def add(self, file: str, chunk: ChunkRecord, rows: NDArray[np.void], blobs: Sequence[bytes]) -> Entry:
        """Stores a new file of one chunk."""
        with self._changing():
            written = self._write(file, [chunk], rows, blobs)
            return self._manifest.append(written)

    def replace(self, kept: Iterable[Entry], joined: Iterable[Sequence[ChunkRecord]]) -> None:
        """Makes the store hold the `kept` files and a new segment for each group of stored chunks in `joined`."""
        kept = list(kept)
        with self._changing():
            home = {chunk: entry for entry in self._manifest.entries.values() for chunk in entry.chunks}
            segments = [self._join(chunks, home) for chunks in joined]
            if not segments and len(kept) == len(self._manifest.entries):
                return
            self._manifest.rewrite([*kept, *segments], self._manifest.generation + 1)
            self._open_files.clear()
            self._remove_leftovers()

    def quarantine(self, damage: Damage) -> None:
        """Moves the file away, with the reason beside it, or rebuilds the manifest from all that is intact.

        Raises: ValueError unless the file is stored or in quarantine already.
        """
        if damage.file == MANIFEST:
            with self._changing(is_repair=True):
                if self._manifest.path.exists():
                    self._explain(damage)
                    durable.write_durably(self.path / QUARANTINE / MANIFEST, self._manifest.path.read_bytes())
                self._rebuild(self._manifest.generation + 1)
                self._remove_leftovers()
        elif damage.file in self.entries:
            with self._changing():
                self._shelter(damage)
                kept = [entry for entry in self._manifest.entries.values() if entry.file != damage.file]
                self._manifest.rewrite(kept, self._manifest.generation + 1)
                self._open_files.clear()
        elif not (damage.file and (self.path / QUARANTINE / f"{damage.file}.txt").exists()):
            raise ValueError(f"no file of this store to quarantine: {damage}")

    def _refresh(self) -> None:
        if self._is_stale:
            self._load()

    @contextmanager
    def _changing(self, *, is_repair: bool = False) -> Iterator[None]:
        """What is in memory counts only if the change succeeds; otherwise the disk is read anew."""
        assert not self._read_only, f"{self.path} was opened to be read"
        damage = None if is_repair else self.damage()
        if damage:
            raise DamagedSegmentError(damage)
        self._refresh()
        self._is_stale = True
        yield
        self._is_stale = False

    def _load(self) -> None:
        was_interrupted, self._is_stale = self._is_stale, True
        self._open_files.clear()
        self._manifest = manifest = Manifest(self.path, self.run_id)
        is_new = bool(manifest.problem) and not manifest.entries and not self._unlisted()
        if self._read_only:
            if is_new or (manifest.is_torn and not manifest.problem):
                manifest.assume(self._intact(manifest.generation + 1)[0], manifest.generation)
            self._is_stale = False
            return
        if is_new:
            manifest.rewrite([], manifest.generation)
        if manifest.problem is None:
            if manifest.is_torn:
                # The file was durable before its line was begun: where it is intact, its chunk is stored after all.
                self._rebuild(manifest.generation + 1)
            elif was_interrupted:
                # Linux drops pages whose fsync failed: only a manifest written anew is known to be on the disk.
                manifest.rewrite(list(manifest.entries.values()), manifest.generation)
            else:
                durable.fsync_file(manifest.path)
                durable.fsync_directory(self.path)
            self._remove_leftovers()
        self._is_stale = False

    def _rebuild(self, generation: int) -> None:
        """Rewrites the manifest from its intact lines and from the intact files it does not name."""
        entries, damaged = self._intact(generation)
        for damage in damaged:
            self._shelter(damage)
        self._manifest.rewrite(entries, generation)

    def _intact(self, generation: int) -> tuple[list[Entry], list[Damage]]:
        """What the manifest's intact lines and the intact files it does not name say is stored; damage to the others.

        Args:
            generation: of the files that it does not name.
        """
        entries, damaged = list(self._manifest.entries.values()), []
        stored = _Steps(chunk for entry in entries for chunk in entry.chunks)
        for file in self._unlisted():
            try:
                found = describe(self.path, self.run_id, file, generation)
            except DamagedSegmentError as error:
                damaged.append(error.damage)
                continue
            if not stored.overlap(found.chunks):
                stored.add(found.chunks)
                entries.append(found)
        return entries, damaged

    def _unlisted(self) -> list[str]:
        """Data files that the manifest does not name."""
        names = sorted(path.name for path in self.path.glob("*") if SEGMENT_NAME.fullmatch(path.name))
        return [name for name in names if name not in self._manifest.entries and not (self.path / name).is_dir()]

    def _remove_leftovers(self) -> None:
        temporary = [path.name for path in self.path.glob(f"*{durable.TEMPORARY_SUFFIX}")]
        durable.remove_durably(self.path / name for name in (*self._unlisted(), *temporary))

    def _write(
        self, file: str, chunks: Sequence[ChunkRecord], rows: NDArray[np.void], blobs: Sequence[pa.Buffer | bytes]
    ) -> Entry:
        """Makes the file durable; it is not stored before the manifest names it."""
        data = segment_bytes(self.run_id, chunks, rows, blobs)
        durable.write_durably(self.path / file, data)
        return Entry(
            generation=self._manifest.generation + 1,
            file=file,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            chunks=tuple(chunks),
        )

    def _join(self, chunks: Sequence[ChunkRecord], home: dict[ChunkRecord, Entry]) -> Entry:
        """Writes a segment of these chunks; rows and compressed frames are copied as they are, once checked."""
        rows: list[NDArray[np.void]] = []
        blobs: list[pa.Buffer] = []
        for chunk in chunks:
            segment = self.open(home[chunk])
            held = segment.rows_of(chunk)
            rows.append(segment.rows[held.start : held.stop])
            blobs += [segment.blob(row) for row in held]
        first, steps = chunks[0], sum(chunk.num_steps for chunk in chunks)
        content = hashlib.sha256("".join(chunk.digest for chunk in chunks).encode()).hexdigest()[:12]
        place = f"{first.iteration:06d}-{first.environment:04d}-{first.start:06d}"
        file = f"segment-{self.run_id}-{place}-{steps}-{content}.arrow"
        return self._write(file, chunks, np.concatenate(rows), blobs)

    def _shelter(self, damage: Damage) -> None:
        """Moves a damaged file into `quarantine/`, the reason first; a move that a crash cut short keeps its reason."""
        assert damage.file is not None
        path, shelter = self.path / damage.file, self.path / QUARANTINE / damage.file
        is_there = path.exists() or path.is_symlink()
        if is_there or not shelter.exists():
            self._explain(damage)
        if is_there:
            durable.rename_durably(path, shelter)

    def _explain(self, damage: Damage) -> None:
        durable.make_directory(self.path / QUARANTINE)
        durable.write_durably(self.path / QUARANTINE / f"{damage.file}.txt", f"{damage}\n".encode())


class _Steps:
    """Which steps are stored."""

    def __init__(self, chunks: Iterable[ChunkRecord]) -> None:
        self._turns: defaultdict[tuple[int, int], list[ChunkRecord]] = defaultdict(list)
        self.add(chunks)

    def add(self, chunks: Iterable[ChunkRecord]) -> None:
        for chunk in chunks:
            self._turns[chunk.iteration, chunk.environment].append(chunk)

    def overlap(self, chunks: Iterable[ChunkRecord]) -> bool:
        return any(
            chunk.start < other.start + other.num_steps and other.start < chunk.start + chunk.num_steps
            for chunk in chunks
            for other in self._turns[chunk.iteration, chunk.environment]
        )
