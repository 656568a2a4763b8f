"""metrics.jsonl grows with commits and goes back to them; TensorBoard shows the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from actors.reports import CollectionReport
from pipeline.metrics import MetricsLog, append_timings, episode_metrics
from pipeline.records import read_records

FIRST = {"iteration": 1, "steps": 20, "tokenizer/loss": 1.0765432109876543, "collection/episodes": 2}
SECOND = {"iteration": 2, "steps": 40, "tokenizer/loss": 1e-30}
THIRD = {"iteration": 3, "steps": 60, "evaluation/score_mean": -1.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def open_log(path: Path, committed: bytes = b"") -> MetricsLog:
    return MetricsLog(path, path.parent / "tensorboard", committed)


def shown(path: Path) -> dict[tuple[int, str], float]:
    """What TensorBoard reads: (step, tag) -> value."""
    (file,) = (path.parent / "tensorboard").iterdir()
    events = LegacyEventFileLoader(str(file)).Load()
    return {(event.step, value.tag): value.simple_value for event in events for value in event.summary.value}


def expected(*records: dict[str, Any]) -> dict[tuple[int, str], float]:
    """The numbers of the records, in the single precision of TensorBoard's files."""
    return {
        (record["iteration"], name): float(np.float32(value))
        for record in records
        for name, value in record.items()
        if name != "iteration"
    }


def test_a_record_is_a_line_that_keeps_every_digit(path: Path):
    log = open_log(path)
    log.append(FIRST)
    log.append(SECOND)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [FIRST, SECOND]
    assert read_records(path) == log.records == [FIRST, SECOND]
    log.close()


def test_the_content_is_that_of_the_file(path: Path):
    log = open_log(path)
    assert log.content == path.read_bytes() == b""
    for record in (FIRST, SECOND):
        log.append(record)
        assert log.content == path.read_bytes()
    log.close()


def test_what_was_never_committed_goes_when_the_log_is_opened_with_what_a_commit_holds(path: Path):
    log = open_log(path)
    log.append(FIRST)
    committed = log.content
    log.append(SECOND)
    log.close()
    with open(path, "a") as file:
        file.write('{"iteration": 3, "torn')

    log = open_log(path, committed)
    assert log.records == [FIRST]
    log.append(THIRD)
    log.close()
    assert read_records(path) == [FIRST, THIRD]
    assert shown(path) == expected(FIRST, THIRD)


def test_a_log_opened_without_a_commit_is_empty(path: Path):
    path.write_text('{"iteration": 1}\n')
    log = open_log(path)
    log.close()
    assert (log.records, path.read_bytes(), shown(path)) == ([], b"", {})


def test_tensorboard_shows_the_same_numbers_while_the_log_is_open(path: Path):
    log = open_log(path)
    for count, record in enumerate((FIRST, SECOND, THIRD), start=1):
        log.append(record)
        assert shown(path) == expected(*(FIRST, SECOND, THIRD)[:count])
    log.close()


@pytest.mark.parametrize(
    "damage", [b"", b'{"iteration": 1, "steps": 21}\n', b"\0" * 5_000], ids=["gone", "other", "zeros"]
)
def test_a_file_that_was_damaged_is_what_the_commit_holds_again(path: Path, damage: bytes):
    log = open_log(path)
    log.append(FIRST)
    log.close()
    path.write_bytes(damage)
    log = open_log(path, log.content)
    log.append(SECOND)
    log.close()
    assert read_records(path) == log.records == [FIRST, SECOND]
    assert shown(path) == expected(FIRST, SECOND)


def test_timings_are_a_line_an_iteration_too(tmp_path: Path):
    append_timings(tmp_path / "timings.jsonl", 1, {"collect": 0.123456, "world model": 2.0})
    append_timings(tmp_path / "timings.jsonl", 2, {"collect": 1e-9})
    assert read_records(tmp_path / "timings.jsonl") == [
        {"iteration": 1, "collect": 0.1235, "world model": 2.0},
        {"iteration": 2, "collect": 0.0},
    ]


def test_episodes_are_averaged_and_what_they_achieved_is_counted():
    reports = [
        CollectionReport((1.0, 4.0), (10, 20), ({"coal": 2, "iron": 0}, {"coal": 1, "iron": 0})),
        CollectionReport((), (), ()),
        CollectionReport((1.0,), (30,), ({"coal": 0, "iron": 0},)),
    ]
    assert episode_metrics(reports) == {
        "collection/episodes": 3,
        "collection/return_mean": 2.0,
        "collection/length_mean": 20.0,
        "collection/achieved/coal": 2,
        "collection/achieved/iron": 0,
    }
    assert episode_metrics(reports[1:2]) == {"collection/episodes": 0}
