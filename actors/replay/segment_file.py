"""One data file of the store: an Arrow IPC file with one record batch, uncompressed, read memory-mapped.

Columns: the fields of `rows.ROW` (lists have 20 fixed slots), `row_crc32` over them seeded with the run id's CRC32, and
`frames`, the zstd bytes whose CRC32 is in `frames_crc32`. The schema's metadata repeats run id and chunk records, so a
file explains itself. Arrow notices no flipped bit: the whole file is hashed before Arrow sees it, and the frames of a
row are checked again whenever they are read.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from actors.replay.damage import Damage, DamagedSegmentError
from actors.replay.manifest import ChunkRecord, Entry
from actors.replay.rows import ROW, STEPS_PER_ROW, chunk_of, decompress, record_of
from learners.experience import Chunk

_METADATA_KEY = b"iris-ray replay"
_UNREADABLE = (pa.ArrowException, OSError, ValueError, EOFError, MemoryError, IndexError, struct.error)
"""All that a file of any content makes Arrow, numpy and pydantic raise."""


class SegmentFile:
    """An open file: its rows in memory, its frames mapped. Whatever is wrong with it raises DamagedSegmentError."""

    def __init__(self, directory: Path, run_id: str, entry: Entry) -> None:
        """Opens the file and checks everything but the frames: size, sha256, columns, CRC and sense of every row."""
        self.entry = entry
        self.path = directory / entry.file
        try:
            buffer = self._mapped()
            if hashlib.sha256(buffer).hexdigest() != entry.sha256:
                raise ValueError("its sha256 is not the manifest's")
            metadata, self.rows, self._offsets, self._blobs = _parse(buffer, run_id)  # (R,), (R + 1,)
            if metadata.run != run_id or metadata.chunks != entry.chunks:
                raise ValueError("it describes other chunks than the manifest")
            _check_rows(self.rows)
            self._first_rows = _first_rows(self.rows, entry.chunks)
        except DamagedSegmentError:
            raise
        except _UNREADABLE as error:
            raise self._damaged(str(error)) from error

    def rows_of(self, chunk: ChunkRecord) -> range:
        """The rows that hold a chunk of this file."""
        first, end = self._first_rows[chunk]
        return range(first, end)

    def chunk(self, chunk: ChunkRecord) -> Chunk:
        """The chunk exactly as it was appended."""
        rows = self.rows_of(chunk)
        return chunk_of(self.rows[rows.start : rows.stop], (self.frames(row) for row in rows))

    def frames(self, row: int) -> NDArray[np.uint8]:
        """Frames of one row: (count, 3, 64, 64), read-only."""
        try:
            return decompress(self.blob(row), int(self.rows["count"][row]))
        except OSError as error:
            raise self._damaged(f"frames of row {row}: {error}") from error

    def blob(self, row: int) -> pa.Buffer:
        """The row's frames as they are stored, checked."""
        self.check_size()
        begin, end = int(self._offsets[row]), int(self._offsets[row + 1])
        blob = self._blobs.slice(begin, end - begin)
        if zlib.crc32(blob) != self.rows["frames_crc32"][row]:
            raise self._damaged(f"the frames of row {row} fail their CRC32")
        return blob

    def check_size(self) -> None:
        """A file that is gone or was cut short must not be read through its mapping: the system kills who tries."""
        try:
            found = self.path.lstat()
        except OSError as error:
            raise self._damaged(error.strerror or "it cannot be read") from error
        if not stat.S_ISREG(found.st_mode):
            raise self._damaged("it is not a regular file")
        if found.st_size != self.entry.size:
            raise self._damaged(f"found {found.st_size} bytes, expected {self.entry.size}")

    def _mapped(self) -> pa.Buffer:
        self.check_size()
        with pa.memory_map(str(self.path)) as file:  # the mapping outlives the file descriptor
            return file.read_buffer()

    def _damaged(self, reason: str) -> DamagedSegmentError:
        one_line = " ".join(reason.split()) or "it cannot be read"
        return DamagedSegmentError(Damage(self.entry.file, one_line, self.entry.spans))


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    run: str
    chunks: Annotated[tuple[ChunkRecord, ...], Field(min_length=1)]


def segment_bytes(
    run_id: str, chunks: Sequence[ChunkRecord], rows: NDArray[np.void], blobs: Iterable[pa.Buffer | bytes]
) -> bytes:
    """Content of a file that holds these chunks, in this order: `rows` (R,) and the compressed frames of each."""
    metadata = _Metadata(run=run_id, chunks=tuple(chunks)).model_dump_json().encode()
    schema = _SCHEMA.with_metadata({_METADATA_KEY: metadata})
    blobs = [blob if isinstance(blob, bytes) else blob.to_pybytes() for blob in blobs]
    columns = {name: _column(rows[name]) for name in ROW.names or ()}
    columns["row_crc32"] = pa.array(_row_crc32s(rows, run_id))
    columns["frames"] = pa.array(blobs, pa.large_binary())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
        writer.write_batch(pa.record_batch([columns[name] for name in schema.names], schema=schema))
    return sink.getvalue().to_pybytes()


def describe(directory: Path, run_id: str, file: str, generation: int) -> Entry:
    """Manifest entry of a file that the manifest does not name, from what the file says of itself.

    Raises: DamagedSegmentError if anything is wrong with the file, or it is another run's.
    """
    try:
        path = directory / file
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("it is not a regular file")
        data = path.read_bytes()
        metadata, *_ = _parse(pa.py_buffer(data), run_id)
        entry = Entry(
            generation=generation,
            file=file,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            chunks=metadata.chunks,
        )
    except _UNREADABLE as error:
        raise DamagedSegmentError(Damage(file, " ".join(str(error).split()), ())) from error
    segment = SegmentFile(directory, run_id, entry)
    for chunk in entry.chunks:
        if record_of(segment.chunk(chunk)) != chunk:
            raise DamagedSegmentError(Damage(file, f"it does not hold what it says of chunk {chunk[:4]}", entry.spans))
    return entry


def _column(values: NDArray[np.generic]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(np.ascontiguousarray(values))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=_arrow_type(values.dtype, values.shape[1:]))


def _arrow_type(dtype: np.dtype, shape: tuple[int, ...]) -> pa.DataType:
    scalar = pa.from_numpy_dtype(dtype)
    return pa.list_(pa.field("item", scalar, nullable=False), shape[0]) if shape else scalar


def _row_fields() -> Iterable[pa.Field]:
    for name in ROW.names or ():
        yield pa.field(name, _arrow_type(ROW[name].base, ROW[name].shape), nullable=False)


_SCHEMA = pa.schema(
    [
        *_row_fields(),
        pa.field("row_crc32", pa.uint32(), nullable=False),
        pa.field("frames", pa.large_binary(), nullable=False),
    ]
)


def _parse(buffer: pa.Buffer, run_id: str) -> tuple[_Metadata, NDArray[np.void], NDArray[np.int64], pa.Buffer]:
    """Metadata, rows (R,), where each row's frames begin and end (R + 1,) in the last, the mapped frames."""
    if buffer.size < 16 or buffer[:8].to_pybytes() != b"ARROW1\0\0":
        raise ValueError("it is not an Arrow file")
    # Message by message, not through the footer: whether a body is compressed must be known before Arrow inflates it.
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(buffer.slice(8)))
    try:
        schema, message = pa.ipc.read_schema(messages.read_next_message()), messages.read_next_message()
    except StopIteration:
        raise ValueError("it ends before its record batch") from None
    if not schema.equals(_SCHEMA):
        raise ValueError(f"its columns are {schema.names}, expected those of format 1")
    metadata = _Metadata.model_validate_json((schema.metadata or {}).get(_METADATA_KEY, b""))
    if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
        raise ValueError("it does not hold one uncompressed record batch")
    batch = pa.ipc.read_record_batch(message, schema)
    batch.validate(full=True)
    if batch.num_rows == 0:
        raise ValueError("it has no rows")
    rows = np.zeros(batch.num_rows, ROW)
    for name in ROW.names or ():
        rows[name] = _values(batch.column(name)).reshape(rows[name].shape)
    broken = np.flatnonzero(_values(batch.column("row_crc32")) != _row_crc32s(rows, run_id))
    if len(broken):
        raise ValueError(f"row {broken[0]} fails its CRC32")
    frames = batch.column("frames")
    _, offsets, blobs = frames.buffers()
    if frames.null_count or offsets is None or blobs is None:
        raise ValueError("it has rows without frames")
    return metadata, rows, np.frombuffer(offsets, np.int64, batch.num_rows + 1).copy(), blobs


def _values(column: pa.Array) -> NDArray[np.generic]:
    values = column.values if isinstance(column, pa.FixedSizeListArray) else column
    if column.null_count or values.null_count:
        raise ValueError("it has empty values")
    return values.to_numpy(zero_copy_only=True)


def _is_compressed(metadata: bytes) -> bool:
    """Whether the flatbuffer `Message` carries a `RecordBatch` whose `compression` is set (Arrow's Message.fbs)."""

    def position(table: int, field: int) -> int:
        vtable = table - struct.unpack_from("<i", metadata, table)[0]
        size = struct.unpack_from("<H", metadata, vtable)[0]
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", metadata, vtable + slot)[0] if slot < size else 0
        return table + offset if offset else 0

    header = position(struct.unpack_from("<I", metadata)[0], 2)
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    return position(batch, 3) != 0


def _row_crc32s(rows: NDArray[np.void], run_id: str) -> NDArray[np.uint32]:
    seed = zlib.crc32(run_id.encode())
    return np.array([zlib.crc32(row.tobytes(), seed) for row in rows], np.uint32)


def _check_rows(rows: NDArray[np.void]) -> None:
    counts = rows["count"]
    if counts.min() < 1 or counts.max() > STEPS_PER_ROW:
        raise ValueError(f"a row claims {counts.max()} steps, expected 1 to {STEPS_PER_ROW}")
    if min(rows[name].min() for name in ("iteration", "environment", "start", "episode", "episode_step")) < 0:
        raise ValueError("a row counts below zero")
    if max(rows["terminated"].max(), rows["truncated"].max()) > 1 or not np.isfinite(rows["rewards"]).all():
        raise ValueError("a row holds a flag that is neither 0 nor 1, or a reward that is not finite")


def _first_rows(rows: NDArray[np.void], chunks: Sequence[ChunkRecord]) -> dict[ChunkRecord, tuple[int, int]]:
    """First row of each chunk and the row after its last. Raises ValueError unless rows and chunks tell the same."""
    found: dict[ChunkRecord, tuple[int, int]] = {}
    first = 0
    for chunk in chunks:
        end, steps = first, 0
        while end < len(rows) and steps < chunk.num_steps:
            row = rows[end]
            if (row["iteration"], row["environment"], row["start"]) != (*chunk[:2], chunk.start + steps):
                break
            steps, end = steps + int(row["count"]), end + 1
        begun = int(np.count_nonzero(rows["episode_step"][first:end] == 0))
        if (steps, begun) != (chunk.num_steps, chunk.num_episodes):
            raise ValueError(f"row {end} is not what chunk {chunk[:4]} should hold")
        found[chunk] = (first, end)
        first = end
    if first != len(rows):
        raise ValueError(f"found {len(rows)} rows, expected {first}")
    return found
