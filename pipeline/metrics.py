"""Numbers of a run: `metrics.jsonl` (part of what a run is), TensorBoard (a view of it), `timings.jsonl` (not).

A line of metrics.jsonl is one iteration: {"iteration": 3, "steps": 600, "world_model/loss": 0.4, …}; nothing in it
depends on how fast the run was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - made at run time
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from actors.reports import CollectionReport
from learners.durable import append_durably, open_to_append, write_durably
from pipeline.records import records_of

ACHIEVED = "collection/achieved/"
"""How the names begin of what counts in how many episodes something was achieved."""


class MetricsLog:
    """Appends to metrics.jsonl and TensorBoard; opens with what the last commit holds."""

    def __init__(self, path: Path, tensorboard: Path, committed: bytes) -> None:
        """Lines that were never committed go, lines that were damaged since come back."""
        self._path = path
        self.content = committed
        """Of metrics.jsonl."""
        write_durably(path, committed)
        self.records = records_of(committed)
        if tensorboard.is_symlink():  # what it leads to is not ours
            tensorboard.unlink()
        shutil.rmtree(tensorboard, ignore_errors=True)
        self._writer = EventFileWriter(str(tensorboard))
        for record in self.records:
            self._show(record)

    def append(self, record: Mapping[str, Any]) -> None:
        line = (json.dumps(record) + "\n").encode()
        append_durably(self._path, line)
        self.content += line
        self.records.append(dict(record))
        self._show(record)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _show(self, record: Mapping[str, Any]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in record.items() if name != "iteration"]
        self._writer.add_event(Event(step=record["iteration"], summary=Summary(value=values)))


def append_timings(path: Path, iteration: int, seconds: Mapping[str, float]) -> None:
    rounded = {name: round(value, 4) for name, value in seconds.items()}
    with open_to_append(path) as file:
        file.write((json.dumps({"iteration": iteration, **rounded}) + "\n").encode())


def episode_metrics(reports: Sequence[CollectionReport]) -> dict[str, float]:
    """Of the episodes that ended in an iteration; what they achieved is counted, so that iterations add up."""
    returns = [value for report in reports for value in report.episode_returns]
    lengths = [value for report in reports for value in report.episode_lengths]
    metrics: dict[str, float] = {"collection/episodes": len(returns)}
    if returns:
        metrics["collection/return_mean"] = float(np.mean(returns))
        metrics["collection/length_mean"] = float(np.mean(lengths))
    achieved = [each for report in reports for each in report.episode_achievements]
    for name in sorted(set().union(*achieved)):
        metrics[f"{ACHIEVED}{name}"] = sum(each[name] > 0 for each in achieved)
    return metrics
