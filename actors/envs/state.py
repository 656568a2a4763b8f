"""An environment's state as bytes, without pickle: reading one can build numbers, text and arrays, nothing else.

Layout: MAGIC, header length (uint32), header (JSON), blobs in the header's order, CRC-32 of all that (uint32); integers
are little endian. The header holds JSON fields in place and says of each blob how long it is and, for an array, its
dtype and shape. The layout's version is part of MAGIC.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np

from learners.reading import parse_json

MAGIC = b"irisenv1"
_DTYPES = ("|b1", "|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f4", "<f8")
_UINT32 = struct.Struct("<I")


def pack(kind: str, fields: Mapping[str, Any]) -> bytes:
    """The state of an environment of this `kind`.

    Args:
        kind: names the environment; `unpack` refuses another.
        fields: each an ndarray (bool, integer or float), bytes, or a value of JSON types. A dict keeps its order, a
            float its bits.

    Raises: TypeError or ValueError for a field that is none of these.
    """
    header: dict[str, Any] = {}
    blobs = []
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            array = value.astype(value.dtype.newbyteorder("<"))
            if array.dtype.str not in _DTYPES:
                raise TypeError(f"field {name!r} of a {kind} state: found an array of {array.dtype}, expected numbers")
            header[name] = {"dtype": array.dtype.str, "shape": array.shape}
            blobs.append(array.tobytes())
        elif isinstance(value, bytes):
            header[name] = {"bytes": len(value)}
            blobs.append(value)
        else:
            header[name] = {"json": value}
    encoded = json.dumps({"kind": kind, "fields": header}, allow_nan=False, separators=(",", ":")).encode()
    body = b"".join([MAGIC, _UINT32.pack(len(encoded)), encoded, *blobs])
    return body + _UINT32.pack(crc32(body))


def unpack(kind: str, state: bytes, expected: Mapping[str, type]) -> dict[str, Any]:
    """The fields that `pack(kind, fields)` was given; arrays are fresh and writable.

    Args:
        expected: name and type (np.ndarray, bytes, int, bool, str, list, dict) of every field there must be.

    Raises: ValueError in one line if `state` is damaged, of another kind or layout, or has other fields.
    """
    header, body, offset = _read_header(state)
    if header["kind"] != kind:
        raise ValueError(f"state of another environment: found {header['kind']!r}, expected {kind!r}")
    fields: dict[str, Any] = {}
    try:
        for name, entry in header["fields"].items():
            if "json" in entry:
                fields[name] = entry["json"]
                continue
            length = _blob_length(entry)
            blob = body[offset : offset + length]
            if len(blob) != length:
                raise ValueError(f"field {name!r} is cut short")
            fields[name] = _array(blob, entry) if "dtype" in entry else blob
            offset += length
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"malformed {kind} state: {error}") from error
    if offset != len(body):
        raise ValueError(f"malformed {kind} state: {len(body) - offset} bytes belong to no field")
    found = {name: type(value) for name, value in fields.items()}
    if found != dict(expected):
        raise ValueError(f"malformed {kind} state: found fields {_signature(found)}, expected {_signature(expected)}")
    return fields


def restore_generator(state: Any) -> np.random.Generator:
    """A generator that goes on where the one with this `bit_generator.state` (PCG64) stood.

    Raises: ValueError if it is no such state.
    """
    bits = np.random.PCG64()
    try:
        bits.state = state
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"malformed state of a random generator: {error}") from error
    return np.random.Generator(bits)


def _read_header(state: bytes) -> tuple[dict[str, Any], bytes, int]:
    """Header, everything but the checksum, and where the blobs start in it."""
    start = len(MAGIC) + _UINT32.size
    if len(state) < start + _UINT32.size or not state.startswith(MAGIC):
        raise ValueError(f"not an environment's state: found {state[: len(MAGIC)]!r}, expected {MAGIC!r} first")
    body, checksum = state[: -_UINT32.size], _UINT32.unpack(state[-_UINT32.size :])[0]
    if crc32(body) != checksum:
        raise ValueError("damaged state of an environment: its checksum does not match")
    blobs = start + _UINT32.unpack_from(body, len(MAGIC))[0]
    try:
        header = parse_json(body[start:blobs])
    except ValueError as error:
        raise ValueError(f"malformed state of an environment: {error}") from error
    if not (isinstance(header, dict) and header.keys() == {"kind", "fields"} and isinstance(header["fields"], dict)):
        raise ValueError("malformed state of an environment: its header must hold 'kind' and 'fields'")
    return header, body, blobs


def _blob_length(entry: dict[str, Any]) -> int:
    if "dtype" not in entry:
        return entry["bytes"]
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"found an array of {entry['dtype']!r}")
    return math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize


def _array(blob: bytes, entry: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(blob, entry["dtype"]).reshape(entry["shape"]).copy()


def _signature(types: Mapping[str, type]) -> str:
    return ", ".join(f"{name}: {kind.__name__}" for name, kind in types.items())
