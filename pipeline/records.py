"""Lines of metrics.jsonl and timings.jsonl: an iteration each, numbers by their names."""

from __future__ import annotations

from pathlib import Path

from learners.reading import parse_json, read_file

LARGEST = 1e300
"""What is beyond is no measurement."""
Record = dict[str, float]


def read_records(path: Path) -> list[Record]:
    """Of a file. Raises: OSError; ValueError, in one line."""
    return records_of(read_file(path))


def records_of(content: bytes) -> list[Record]:
    """What the lines say. Raises: ValueError, in one line, for a line that is no object of finite numbers."""
    records = [parse_json(line) for line in content.splitlines()]
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict) or not _is_count(record.get("iteration")):
            raise ValueError(f"line {number} is no object with a number of its iteration")
        for name, value in record.items():
            if not (isinstance(value, int | float) and abs(value) <= LARGEST):
                raise ValueError(f"line {number}: found {value!s:.40} as {name:.60}, expected a finite number")
    return records


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value < 1 << 53
