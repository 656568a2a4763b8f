"""How far a run is, read from its directory while it works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from learners.reading import parse_json, read_file, read_text
from pipeline.commit_mark import check_commits
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.records import Record, records_of
from pipeline.run_dir import CONFIG_FILE, METRICS_FILE, SCORES_FILE, TIMINGS_FILE

RECENT = 20
"""Iterations that the speed is taken from."""


@dataclass(frozen=True)
class RunStatus:
    iteration: int
    """The last that is finished; 0 if there is none, or its directory cannot be seen from here."""
    iteration_seconds: float
    """Mean of the most recent ones; 0 if it is not known."""
    score: float | None
    """Mean of the newest evaluation."""
    is_finished: bool
    total_seconds: float
    """Of all iterations that count."""
    fault: str
    """Why it cannot go on, if it has lost its commits."""

    @classmethod
    def of(cls, run_dir: Path, config: RunConfig) -> Self:
        metrics, timings = _lines(run_dir / METRICS_FILE), _lines(run_dir / TIMINGS_FILE)
        # Of the last time each was played.
        seconds = {line["iteration"]: line["total"] for line in timings if "total" in line}
        recent = list(seconds.values())[-RECENT:]
        scores = [line[name] for line in metrics if (name := "evaluation/score_mean") in line]
        return cls(
            iteration=int(metrics[-1]["iteration"]) if metrics else 0,
            iteration_seconds=sum(recent) / max(1, len(recent)),
            score=scores[-1] if scores else None,
            is_finished=bool(metrics) and _final_iteration(run_dir / SCORES_FILE) == config.iterations,
            total_seconds=sum(seconds.values()),
            fault=_fault(run_dir, config),
        )


def _fault(run_dir: Path, planned: RunConfig) -> str:
    try:
        # When a first commit was due, the run's own last start says.
        config = run_dir / CONFIG_FILE
        check_commits(run_dir, RunConfig.model_validate_json(read_text(config)) if config.is_file() else planned)
        return ""
    except (UsageError, OSError) as error:
        return str(error)
    except ValidationError:  # whoever goes on with the run says so
        return ""


def _lines(path: Path) -> list[Record]:
    """Every whole line; the last one may be in the middle of being written."""
    try:
        text = read_file(path)
        return records_of(text[: text.rfind(b"\n") + 1])
    except (OSError, ValueError):  # not there, or damaged, which a resume puts right
        return []


def _final_iteration(path: Path) -> int | None:
    try:
        found = parse_json(read_text(path))
        return found.get("iterations") if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None
