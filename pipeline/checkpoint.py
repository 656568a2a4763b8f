"""Commits: an iteration is durable as a whole, or it never happened.

A checkpoint is a directory `checkpoints/<iteration>` with the files of its writers and, written last, `state.json`,
which names each file's sha256. It is prepared under a temporary name and renamed once everything in it is on the disk.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError, model_validator

from actors.store_index import Link, Receipt
from learners import durable
from learners.reading import parse_json, read_file, read_text
from pipeline.errors import UsageError, first_mistake
from pipeline.records import records_of
from pipeline.run_dir import METRICS_FILE

STATE_FILE = "state.json"
_TEMPORARY = ".tmp-"


class Commit(BaseModel):
    """What a commit says of itself, beside the files of its writers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    iteration: PositiveInt
    iterations: PositiveInt
    """How many were planned."""
    identity: str
    """sha256 of the settings that make the run what it is."""
    machine: dict[str, str | int]
    """What bit-identity depends on beyond the configuration."""


class State(Commit):
    """Of a run that collects experience."""

    steps: NonNegativeInt
    """Environment steps taken up to here, all of them stored."""
    experience: Link | None = None
    """The newest index of the replay store, which leads to all experience; None if there is none."""
    lost: list[Receipt] = []
    """Of files of the replay store that are gone, where that was accepted."""
    evaluation: list[tuple[FiniteFloat, NonNegativeInt]]
    """Score and length of each episode; none before the first evaluation."""

    @model_validator(mode="after")
    def _ends_with_an_evaluation(self) -> Self:
        if self.iteration >= self.iterations and not self.evaluation:
            raise ValueError("evaluation: found no episode after the last iteration, expected at least one")
        return self


Said = TypeVar("Said", bound=Commit)


@dataclass(frozen=True)
class Committed(Generic[Said]):
    """One commit on disk."""

    path: Path
    state: Said
    hash: str
    """sha256 of the state and of the names and hashes of all files."""
    files: Mapping[str, str]
    """Name and sha256 of each."""
    passed_over: tuple[str, ...] = ()
    """What is wrong with the newer ones, newest first."""

    @property
    def iteration(self) -> int:
        return self.state.iteration

    def read(self, name: str) -> bytes:
        """Raises OSError."""
        return read_file(self.path / name)


Checkpoint = Committed[State]


class Commits(Generic[Said]):
    """Those of a run, in a directory of their own."""

    def __init__(self, directory: Path, keep: int, form: type[Said]) -> None:
        """`form` is what they say of themselves."""
        self._directory = directory
        self._keep = keep
        self._form = form

    def prepare(self, iteration: int) -> Path:
        """An empty directory to write an iteration's files into.

        Checkpoints of this iteration and later ones are gone then: `newest` passed them over, they are damaged.
        """
        self._remove(path for path in self.paths() if int(path.name) >= iteration)
        # A name of its own: a process that outlives its killed driver may still be writing into the last one.
        path = self._directory / f"{_TEMPORARY}{iteration}-{uuid4().hex}"
        path.mkdir()
        return path

    def clean(self) -> None:
        """Deletes what was prepared and never committed."""
        for leftover in self._directory.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def commit(self, prepared: Path, state: Said, hashes: Mapping[str, str]) -> None:
        """Makes a prepared directory, whose files are durable already, the newest checkpoint; deletes old ones."""
        body = {**state.model_dump(mode="json"), "files": dict(sorted(hashes.items()))}
        durable.write_durably(prepared / STATE_FILE, _seal(body))
        durable.rename_durably(prepared, self._directory / f"{state.iteration:06d}")
        self._remove(self.paths()[: -self._keep])

    def newest(self, refusal: Callable[[Said], str | None] = lambda state: None) -> Committed[Said] | None:
        """The newest checkpoint whose every byte is as it was written; None if there has never been one.

        Args:
            refusal: why a checkpoint that says this of itself cannot be used all the same, if so.

        Raises: UsageError if there are checkpoints and none of them can be used.
        """
        reasons = []
        for path in reversed(self.paths()):
            try:
                checkpoint = load_commit(path, self._form)
                if reason := refusal(checkpoint.state):
                    raise ValueError(f"checkpoint {path.name}: {reason}")
                return replace(checkpoint, passed_over=tuple(reasons))
            except ValueError as error:
                reasons.append(str(error))
        if reasons:
            raise UsageError(f"no intact checkpoint among {len(reasons)}: {reasons[0]}")
        return None

    def iterations(self) -> list[int]:
        """Of the kept checkpoints, oldest first."""
        return [int(path.name) for path in self.paths()]

    def paths(self) -> list[Path]:
        """Of the kept checkpoints, oldest first."""
        inside = self._directory.iterdir() if self._directory.is_dir() else ()
        found = (path for path in inside if path.name.isascii() and path.name.isdecimal() and path.is_dir())
        return sorted(found, key=lambda path: int(path.name))

    def _remove(self, paths: Iterable[Path]) -> None:
        """Under another name first: a crash must not leave half a checkpoint."""
        for path in paths:
            doomed = path.with_name(f"{_TEMPORARY}{path.name}")
            durable.rename(path, doomed)
            shutil.rmtree(doomed)


class Checkpoints(Commits[State]):
    """Of a run that collects experience."""

    def __init__(self, directory: Path, keep: int) -> None:
        super().__init__(directory, keep, State)


def load(path: Path) -> Checkpoint:
    """Of a run that collects experience; as `load_commit`."""
    return load_commit(path, State)


def load_commit(path: Path, form: type[Said]) -> Committed[Said]:
    """Reads and checks a checkpoint. Raises ValueError, in one line, at the first thing that is wrong."""
    try:
        body, whole = _unseal(read_text(path / STATE_FILE))
        files = body.pop("files")
        state = form.model_validate_json(json.dumps(body))
        if state.iteration != int(path.name):
            raise ValueError(f"{STATE_FILE} is of iteration {state.iteration}")
        for name, expected in files.items():
            if Path(name).name != name:
                raise ValueError(f"{name!r} is not the name of a file in the checkpoint")
            found = sha256(read_file(path / name)).hexdigest()
            if found != expected:
                raise ValueError(f"{name} is damaged: found sha256 {found[:12]}…, expected {expected[:12]}…")
        if METRICS_FILE in files:
            records_of(read_file(path / METRICS_FILE))
    except OSError as error:
        raise ValueError(f"checkpoint {path.name}: cannot read {error.filename} ({error.strerror})") from error
    except ValidationError as error:
        raise ValueError(f"checkpoint {path.name}: {STATE_FILE}: {first_mistake(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"checkpoint {path.name}: {error}") from error
    return Committed(path, state, whole, files)


def _seal(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True)
    return json.dumps({"sha256": sha256(text.encode()).hexdigest(), "state": body}, sort_keys=True, indent=1).encode()


def _unseal(data: bytes) -> tuple[dict[str, Any], str]:
    """What was sealed, and its hash."""
    sealed = parse_json(data)
    text = json.dumps(sealed["state"], sort_keys=True)
    if sha256(text.encode()).hexdigest() != sealed["sha256"]:
        raise ValueError(f"{STATE_FILE} is damaged")
    return sealed["state"], sealed["sha256"]
