"""The directory of a run: what lies where, who may write, and whose run it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from pydantic import ValidationError

from cluster.config import PROBE
from learners.config import Config
from learners.directory_lock import LOCK_FILE, DirectoryLock, InUseError
from learners.durable import make_directory, remove_durably, unfinished, write_durably
from learners.reading import read_file, read_text
from pipeline.config import RunConfig
from pipeline.errors import UsageError, first_mistake

if TYPE_CHECKING:
    from actors.store import ReplayStore

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
SCORES_FILE = "scores.json"
EVALUATION_FILE = "evaluation.json"
MARK_FILE = "committed.txt"
CHECKPOINTS = "checkpoints"
PLANS, SURPRISE = "plans", "surprise"
REPLAY, MEDIA = "replay", "media"
MAX_NAME_LENGTH = 100

README = """\
A run of iris-ray. Running the same command again resumes it; `python -m pipeline.verify <this directory>` checks it.

config.json       the whole configuration
metrics.jsonl     one line per iteration: losses, accuracies, returns (TensorBoard reads the same from tensorboard/)
timings.jsonl     where the time of each iteration went, in seconds: in all since the one before, and by phase
scores.json       the evaluation after the last iteration
evaluation.json   what `python -m pipeline.evaluate <this directory>` has played since, if anything
plans/            what `python -m pipeline.plan <this directory>` has drawn since, if anything
surprise/         what `python -m pipeline.surprise <this directory>` has measured since, if anything
media/            evaluation episodes, what the parts make of new steps, curves
replay/           every environment step, a directory for each iteration, with checksums
checkpoints/      the newest commits: weights, optimisers, environment states, counters
committed.txt     says that there are commits: without one of them in checkpoints/, no command goes on
failures/         if a loss was not finite: the weights before that step, and which batch it was
"""


JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for the entrypoint of a job."""


def check_run_dir(path: Path) -> None:
    """Raises UsageError if no run can live there: an object store, or a path relative to where a job works."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):  # Path makes s3:/a of s3://a
        raise UsageError(f"run directory {path}: expected a path of a file system that all nodes see, found a URI")
    if JOB_VARIABLE in os.environ and not path.is_absolute():
        raise UsageError(
            f"--run-dir: found {path}, expected an absolute path that every node sees: a Ray job works in a directory"
            " that is gone after it"
        )


def default_run_dir(config: RunConfig) -> Path:
    """`runs/<preset>-<game>-seed<seed>`."""
    return Path("runs") / run_name(config)


def run_name(config: RunConfig) -> str:
    """Names a run in files and logs: at most 100 letters, digits, dots, dashes and underscores.

    A longer name is cut and ends with a hash of the whole.
    """
    whole = f"{config.preset}-{config.game}-seed{config.seed}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", whole)
    if len(name) > MAX_NAME_LENGTH:
        name = f"{name[: MAX_NAME_LENGTH - 17]}-{blake2b(whole.encode(), digest_size=8).hexdigest()}"
    return name


C = TypeVar("C", bound=Config)


class Directory(Generic[C]):
    """Holds a lock of a directory until `close`: `claim` gives it to write, `open` to read."""

    form: type[C]
    config_name = CONFIG_FILE
    """Of the file that makes it one: other kinds have other names, so that none is taken for another."""
    readme: str
    folders: tuple[str, ...]
    """That are there from the first moment on."""

    def __init__(self, path: Path) -> None:
        """Without a lock: `claim` and `open` take it."""
        self.path = path
        self.config_file = path / self.config_name
        self.metrics_file = path / METRICS_FILE
        self.timings_file = path / TIMINGS_FILE
        self.mark_file = path / MARK_FILE
        self.checkpoints = path / CHECKPOINTS
        self.tensorboard = path / "tensorboard"
        self.media = path / MEDIA
        self._locks: list[DirectoryLock] = []
        self._made: list[Path] = []  # by `claim`, while nothing has begun

    @classmethod
    def claim(cls, path: Path, config: C) -> Self:
        """Locks a new or empty directory, or the one of the same run; nothing else is written before `begin`.

        Raises: UsageError if it is not writable, in use, not a run, or of another configuration (with the difference).
        """
        check_run_dir(path)
        path = path.absolute()
        run = cls(path)
        run._made = [each for each in (*reversed(path.parents), path, path / LOCK_FILE) if not os.path.lexists(each)]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"run directory {path}: cannot be made ({error.strerror})") from error
        if not os.access(path, os.W_OK):
            raise UsageError(f"run directory {path}: found no permission to write, expected a writable directory")
        if foreign := _foreign_entry(path, cls.config_name):  # before the lock file is made: nothing is touched there
            raise UsageError(f"run directory {path}: found {foreign!r} and no run, expected a run or nothing")
        try:
            run._locks.append(DirectoryLock.to_write(path))
        except InUseError as error:
            raise UsageError(f"run directory {error}") from error
        except OSError as error:
            raise UsageError(f"run directory {path}: cannot be locked ({error.strerror}: {error.filename})") from error
        try:
            run._check_claim(config)
        except UsageError:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Of an existing run, in which nothing is changed; others may read it, too.

        Raises: UsageError if there is none, or a run is writing into it.
        """
        path = path.absolute()
        if not (path / cls.config_name).is_file():
            raise UsageError(f"{path}: found no run there, expected a directory with {cls.config_name}")
        run = cls(path)
        try:
            run._locks.append(DirectoryLock.to_read(path))
        except InUseError as error:
            run.close()
            raise UsageError(f"run directory {error}") from error
        return run

    def begin(self, config: C) -> list[str]:
        """Writes what a run needs from its first moment; settings that changed since the last start, in words.

        What an earlier start left unfinished goes. Raises UsageError if something is in the way.
        """
        self._made.clear()
        remove_durably(
            leftover for name in (self.config_name, *_WHOLE_FILES) for leftover in unfinished(self.path, name)
        )
        known = self.config() if self.config_file.exists() else config
        write_durably(self.config_file, (config.model_dump_json(indent=2) + "\n").encode())
        write_durably(self.path / "README.txt", self.readme.encode())
        for directory in (self.path / name for name in self.folders):
            try:
                make_directory(directory)
            except FileExistsError as error:
                raise UsageError(f"{directory}: found no directory, expected one or nothing") from error
        return list(_differences(known.model_dump(mode="json"), config.model_dump(mode="json"), "{} was {!r}, is {!r}"))

    def check_lock(self) -> None:
        """Raises OSError if this process is not the only one that may write any more."""
        for lock in self._locks:
            lock.check()

    def close(self) -> None:
        """Gives the directory back; what `claim` has made is removed if nothing began."""
        with suppress(OSError):  # whatever happened to the directory is said by who met it
            for made in reversed(self._made):
                made.unlink() if made.name == LOCK_FILE else made.rmdir()
        for lock in self._locks:
            lock.release()

    def config(self) -> C:
        """What config.json holds. Raises UsageError if it is damaged, or cannot be read."""
        try:
            return self.form.model_validate_json(read_text(self.config_file))
        except OSError as error:
            raise UsageError(f"{self.config_file}: cannot be read ({error.strerror})") from error
        except ValidationError as error:
            raise UsageError(f"{self.config_file}: {first_mistake(error)}") from error

    def _check_claim(self, config: C) -> None:
        if not os.path.lexists(self.config_file):
            return
        words = "{} is {!r} there, {!r} asked for"
        if difference := list(_differences(self.config().identity(), config.identity(), words)):
            raise UsageError(
                f"run directory {self.path} is of another configuration: {'; '.join(difference)};"
                " choose another --run-dir or the same settings"
            )


class RunDirectory(Directory[RunConfig]):
    """Of a run that collects experience."""

    form = RunConfig
    readme = README
    folders = (MEDIA, CHECKPOINTS, REPLAY)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.scores_file = path / SCORES_FILE
        self.evaluation_file = path / EVALUATION_FILE
        self.replay = path / REPLAY
        self.failures = path / "failures"
        self.curves_file = self.media / "curves.png"

    def store(self, config: RunConfig) -> ReplayStore:
        """Its experience."""
        from actors.store import ReplayStore  # loads numpy and pyarrow

        return ReplayStore(self.replay, run_name(config))


_WHOLE_FILES = ("README.txt", METRICS_FILE, SCORES_FILE, EVALUATION_FILE, MARK_FILE)
"""That are replaced as a whole: a crash may leave one unfinished, under a name of its own."""
_CONFIG_HEAD = b'{\n  "preset": "'
"""How the first file of every run begins."""


def _foreign_entry(path: Path, config_name: str) -> str | None:
    """Something in the directory that no run has put there; None if it is a run, or one that never began, or empty.

    Args:
        config_name: of the file that makes it a run of this kind.
    """
    names = sorted(os.listdir(path))
    if config_name in names:
        return None
    return next((name for name in names if not _is_ours(path / name, config_name)), None)


def _is_ours(path: Path, config_name: str) -> bool:
    """Whether it is what a run leaves that was killed before it began: a lock, the look of a node, half a config.json.

    The name alone does not tell.
    """
    if not os.path.lexists(path):
        return True  # of a start that has just begun
    if path.is_symlink() or not path.is_file():
        return False
    if path.name == LOCK_FILE:
        return path.stat().st_size == 0
    if path.name.startswith(PROBE):
        return path.stat().st_size == 0 or read_file(path) == path.name.rpartition("-")[2].encode()
    if path in unfinished(path.parent, config_name):
        with open(path, "rb") as file:
            return file.read(len(_CONFIG_HEAD)) == _CONFIG_HEAD[: path.stat().st_size]
    return False


def _differences(known: Mapping[str, Any], asked: Mapping[str, Any], words: str, prefix: str = "") -> Iterator[str]:
    if known.get("kind") != asked.get("kind"):  # then nothing else is comparable
        yield words.format(f"{prefix}kind", known.get("kind"), asked.get("kind"))
        return
    for key in sorted(known.keys() | asked.keys()):
        before, after = known.get(key), asked.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, words, f"{prefix}{key}.")
        elif before != after:
            yield words.format(f"{prefix}{key}", before, after)
