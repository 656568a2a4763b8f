"""Numbers of a run: `metrics.jsonl` (part of what a run is), TensorBoard (a view of it), `timings.jsonl` (not).

A line of metrics.jsonl is one iteration: {"iteration": 3, "steps": 600, "tokenizer/loss": 0.4, …}; nothing in it
depends on how fast the run was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - made at run time
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from learners.durable import append_durably, write_durably
from pipeline.errors import UsageError


class MetricsLog:
    """Appends to metrics.jsonl and TensorBoard; opens at the length the last commit recorded."""

    def __init__(self, path: Path, tensorboard: Path, length: int) -> None:
        """Lines beyond `length` bytes are of iterations that were never committed: they go.

        Raises: UsageError if the file is shorter than that.
        """
        self._path = path
        if not path.exists():
            write_durably(path, b"")
        if path.stat().st_size < length:
            raise UsageError(f"{path}: found {path.stat().st_size} bytes, expected at least {length}")
        os.truncate(path, length)
        self.records = read_records(path)
        shutil.rmtree(tensorboard, ignore_errors=True)
        self._writer = EventFileWriter(str(tensorboard))
        for record in self.records:
            self._show(record)

    @property
    def length(self) -> int:
        """Bytes of metrics.jsonl."""
        return self._path.stat().st_size

    def append(self, record: Mapping[str, Any]) -> None:
        append_durably(self._path, (json.dumps(record) + "\n").encode())
        self.records.append(dict(record))
        self._show(record)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _show(self, record: Mapping[str, Any]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.items() if name != "iteration"]
        self._writer.add_event(Event(step=record["iteration"], summary=Summary(value=values)))


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl."""
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def append_timings(path: Path, iteration: int, seconds: Mapping[str, float]) -> None:
    with open(path, "a") as file:
        rounded = {name: round(value, 4) for name, value in seconds.items()}
        file.write(json.dumps({"iteration": iteration, **rounded}) + "\n")
