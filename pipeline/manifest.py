"""What a sweep is: which games, seeds and presets, and where its runs live. A TOML file:

    root = "/shared/sweeps/atari"       # a directory that every node and this machine see
    presets = ["iris-atari100k"]
    games = "atari100k"                 # the 26, or a list; leave it out for presets without a choice
    seeds = 5                           # 0 .. 4, or a list
    flags = ["--learner.precision", "bfloat16"]   # of every run, as on its command line
    max_concurrent = 0                  # runs at once; 0: as many as the cluster has room for
    retries = 3                         # of a run that failed

The name of the file is the sweep's.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, ValidationError, field_validator, model_validator

from actors.config import AtariConfig
from actors.envs.games import ATARI_100K_GAMES, check_game
from learners.config import Config
from learners.reading import read_text
from pipeline.cli import parse
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.run_dir import check_run_dir, run_name

_NOT_A_FLAG = {"--run-dir": "the root", "--seed": "the seeds", "--env.game": "the games"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep."""

    name: str
    config: RunConfig
    run_dir: Path
    arguments: tuple[str, ...]
    """Of `python -m pipeline.train`."""


class Manifest(Config):
    """A sweep: every preset × game × seed is a run."""

    name: str
    root: Path
    presets: Annotated[tuple[str, ...], Field(min_length=1)]
    games: tuple[str, ...] | Literal["atari100k"] | None = None
    seeds: Annotated[int, Field(gt=0, le=10_000)] | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = 1
    flags: tuple[str, ...] = ()
    max_concurrent: NonNegativeInt = 0
    retries: NonNegativeInt = 3

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises: UsageError, in one line, if it cannot be read or asks for something that there is not."""
        try:
            content = tomllib.loads(read_text(path).decode())
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: {error}") from error
        if "name" in content:
            raise UsageError(f"{path}: name: found a setting, expected none: the file's name is the sweep's")
        try:
            # As JSON, whose lists and texts may be tuples and paths; nothing else is converted.
            manifest = cls.model_validate_json(json.dumps({"name": path.stem, **content}, default=str))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"][:1])
            found = "" if first["type"] == "missing" else f", found {first['input']!r}"
            words = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{path}: {where + ': ' if where else ''}{words}{found}") from error
        manifest.runs()
        return manifest

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("the file's name names the sweep: expected up to 40 letters, digits, '-' and '_'")
        return name

    @field_validator("root")
    @classmethod
    def _is_absolute(cls, root: Path) -> Path:
        try:
            check_run_dir(root)
        except UsageError as error:
            raise ValueError(str(error)) from None
        if not root.is_absolute():
            raise ValueError("expected an absolute path that every node sees")
        return root

    @model_validator(mode="after")
    def _says_nothing_twice(self) -> Self:
        for setting in ("presets", "games", "seeds"):
            values = getattr(self, setting)
            for value in values if isinstance(values, tuple) else ():
                if values.count(value) > 1:
                    raise ValueError(f"{setting}: {value!r} is there twice")
        return self

    def runs(self) -> list[PlannedRun]:
        """Seeds of one game after another, so that early results cover all games.

        Raises: UsageError, in one line, for an unknown preset, game or flag.
        """
        games = ATARI_100K_GAMES if self.games == "atari100k" else self.games
        seeds = self.seeds if isinstance(self.seeds, tuple) else tuple(range(self.seeds))
        bases = [self._base(preset) for preset in self.presets]
        return [self._run(base, game, seed) for base in bases for seed in seeds for game in (games or (None,))]

    def _base(self, preset: str) -> RunConfig:
        """What the runs of a preset have in common."""
        try:
            launch = parse([preset, *self.flags], "python -m pipeline.train")
        except UsageError as error:
            raise UsageError(f"sweep {self.name}: {error}") from error
        except SystemExit as error:
            raise UsageError("flags: found --help, expected settings of a run") from error
        for flag in self.flags:
            if (name := flag.partition("=")[0].replace("_", "-")) in _NOT_A_FLAG:
                raise UsageError(f"flags: found {name}, which follows from {_NOT_A_FLAG[name]}")
        return launch.config

    def _run(self, base: RunConfig, game: str | None, seed: int) -> PlannedRun:
        changes: dict[str, Any] = {"seed": seed}
        arguments = [base.preset, "--seed", str(seed)]
        if game is not None:
            if not isinstance(base.env, AtariConfig):
                raise UsageError(f"games: preset {base.preset} has no choice of games, found {game!r}")
            try:
                changes["env"] = base.env.model_copy(update={"game": check_game(game)})
            except ValueError as error:
                raise UsageError(f"sweep {self.name}: games: {error}") from error
            arguments += ["--env.game", game]
        config = base.model_copy(update=changes)
        run_dir = self.root / run_name(config)
        return PlannedRun(run_name(config), config, run_dir, (*arguments, *self.flags, "--run-dir", str(run_dir)))
