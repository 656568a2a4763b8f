"""The list of a store's files: `manifest.jsonl`, one checksummed line each.

    {"format":"iris-ray replay","version":1,"run":RUN,"generation":G,"entries":N,"crc32":"0a1b2c3d"}
    {"generation":4,"file":NAME,"size":BYTES,"sha256":HEX,"chunks":[[iteration,environment,start,steps,episodes,digest],...],"crc32":...}

The first line is the header; it and the N lines after it were written at once, in generation G. Every line after those
was appended and raised the generation by one, so a line that is lost in the middle is noticed too. `crc32` covers the
bytes before it. A last line that fails its checksum is torn (a crash in `append`); any other is damage.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.replay.damage import Span, merged
from learners import durable

MANIFEST = "manifest.jsonl"
FORMAT = "iris-ray replay"
VERSION = 1
SEGMENT_NAME = re.compile(r"(chunk|segment)-[A-Za-z0-9][A-Za-z0-9._-]*\.arrow")
"""Every data file's name: it cannot leave the directory."""

_Index = Annotated[int, Field(ge=0, lt=2**48)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ChunkRecord(NamedTuple):
    """What is remembered of an appended chunk for good, whichever file its steps lie in."""

    iteration: _Index
    environment: _Index
    start: _Index
    num_steps: Annotated[int, Field(ge=1, lt=2**48)]
    num_episodes: _Index
    """Episodes that begin in the chunk."""
    digest: _Sha256
    """Of the content, so that the same name with other content is noticed."""

    @property
    def span(self) -> Span:
        return Span(self.iteration, self.environment, self.start, self.num_steps)

    def name(self, run_id: str) -> str:
        """Idempotency key and, until it is sealed, file name."""
        return f"chunk-{run_id}-{self.iteration:06d}-{self.environment:04d}-{self.start:06d}-{self.num_steps:04d}.arrow"


class Entry(BaseModel):
    """One file of the store and the chunks in it, in logical order."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    generation: _Index
    """The manifest's when the file was added."""
    file: Annotated[str, Field(pattern=rf"^{SEGMENT_NAME.pattern}$", max_length=250)]
    size: _Index
    sha256: _Sha256
    chunks: Annotated[tuple[ChunkRecord, ...], Field(min_length=1)]

    @property
    def is_sealed(self) -> bool:
        return self.file.startswith("segment-")

    @property
    def spans(self) -> tuple[Span, ...]:
        return merged(chunk.span for chunk in self.chunks)


class _Header(BaseModel):
    """Open to unknown and missing fields: a later version is told apart from damage."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: str
    version: int
    run: str
    generation: _Index = 0
    entries: _Index = 0


class Manifest:
    """The manifest as it is on the disk. After any method raised, read it anew."""

    def __init__(self, directory: Path, run_id: str) -> None:
        """Reads what is there.

        Raises: ValueError if an intact header names another run, format or version.
        """
        self.path = directory / MANIFEST
        self.run_id = run_id
        self.entries: dict[str, Entry] = {}  # by file
        self.generation = 0
        self.problem: str | None = None
        """Why the entries may not be all there were."""
        self.is_torn = False
        """The last line was cut short and left out; `rewrite` removes it from the disk."""
        if self.path.is_file():
            self._read(self.path.read_bytes())
        else:
            self.problem = "the file is missing"

    def append(self, entry: Entry) -> Entry:
        """Adds a file that is durable already; when this returns, so is its line."""
        assert entry.generation == self.generation + 1
        durable.append_durably(self.path, _line(entry))
        self.generation = entry.generation
        self.entries[entry.file] = entry
        return entry

    def rewrite(self, entries: Iterable[Entry], generation: int) -> None:
        """Replaces all lines at once."""
        entries = list(entries)
        header = _Header(format=FORMAT, version=VERSION, run=self.run_id, generation=generation, entries=len(entries))
        durable.write_durably(self.path, b"".join(_line(line) for line in (header, *entries)))
        self.assume(entries, generation)

    def assume(self, entries: Iterable[Entry], generation: int) -> None:
        """What `rewrite` leaves in memory."""
        self.entries, self.generation = {entry.file: entry for entry in entries}, generation
        self.problem, self.is_torn = None, False

    def _read(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        self.is_torn = bool(rest)
        written_at_once = 1 + self._read_header(lines[0] if lines else b"")
        if len(lines) < written_at_once:
            self._complain(len(lines) + 1, f"missing, expected at least {written_at_once} lines")
        for number, line in enumerate(lines[1:], start=2):
            is_appended = number > written_at_once
            try:
                self._accept(_validated(Entry, _body(line)), is_appended)
            except _TornLineError as error:
                if is_appended and number == len(lines) and not rest:
                    self.is_torn = True
                else:
                    self._complain(number, str(error))
            except _BadLineError as error:
                self._complain(number, str(error))

    def _read_header(self, line: bytes) -> int:
        """Number of entries written together with the header."""
        try:
            header = _validated(_Header, _body(line))
        except _BadLineError as error:
            self._complain(1, str(error))
            return 0
        if (header.format, header.version) != (FORMAT, VERSION):
            found = f"{header.format!r} version {header.version}"
            raise ValueError(f"{self.path}: found {found}, this program reads {FORMAT!r} version {VERSION}")
        if header.run != self.run_id:
            raise ValueError(f"{self.path}: belongs to run {header.run!r}, expected {self.run_id!r}")
        self.generation = header.generation
        return header.entries

    def _accept(self, entry: Entry, is_appended: bool) -> None:
        expected = self.generation + 1
        self.generation = max(self.generation, entry.generation)
        self.entries[entry.file] = entry
        if is_appended and entry.generation != expected:
            raise _BadLineError(f"found generation {entry.generation}, expected {expected}")

    def _complain(self, number: int, reason: str) -> None:
        self.problem = self.problem or f"line {number}: {reason}"


class _BadLineError(Exception):
    """A complete line that says nothing valid."""


class _TornLineError(_BadLineError):
    """A line that fails its checksum."""


def _line(model: BaseModel) -> bytes:
    body = model.model_dump_json().removesuffix("}").encode()
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def _body(line: bytes) -> bytes:
    """The JSON object that was given to `_line`."""
    body, ending = line[:-20], line[-20:]
    if ending != b',"crc32":"%08x"}' % zlib.crc32(body):
        raise _TornLineError("its checksum does not match")
    return body + b"}"


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(model: type[_Model], body: bytes) -> _Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise _BadLineError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
