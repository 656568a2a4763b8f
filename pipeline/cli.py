"""The command line of a run: a preset by name, dotted flags on top of it, and one clear line for every mistake."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from pydantic import BaseModel, ValidationError

from cluster.errors import ClusterError
from learners.config import Config
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.presets import PRESETS

USAGE_EXIT_CODE = 2
Arguments = TypeVar("Arguments", bound=Config)


class Launch(Config):
    """A run and how to start it; only `config` is part of what the run is."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Where the run lives; default: runs/<preset>-<game>-seed<seed>. An existing one of the same run is resumed."""


def parse(argv: Sequence[str], program: str) -> Launch:
    """The preset named first in `argv`, with the flags that follow applied to it.

    Raises: UsageError, in one line, for an unknown preset or flag, a wrong type or a value out of range.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in PRESETS:
        raise UsageError(f"unknown preset: found {argv[0]!r}, expected one of {', '.join(PRESETS)}{_nearest(argv[0], PRESETS)}")
    if argv and argv[0] in PRESETS:
        _check_flags(argv[1:], {"--help", "-h", "--run-dir", *_flags(PRESETS[argv[0]][1], "--")})
    presets = {name: (description, Launch(config=config)) for name, (description, config) in PRESETS.items()}
    with _one_line_errors():
        return tyro.extras.overridable_config_cli(
            presets, args=list(argv), prog=program, config=(tyro.conf.AvoidSubcommands,)
        )


def parse_arguments(model: type[Arguments], argv: Sequence[str], program: str) -> Arguments:
    """The command line of a tool whose arguments are one flat model. Raises UsageError, in one line."""
    known = {"--help", "-h", *(f"--{name.replace('_', '-')}" for name in model.model_fields)}
    _check_flags(argv, known)
    with _one_line_errors():
        return tyro.cli(model, args=list(argv), prog=program, config=(tyro.conf.FlagCreatePairsOff,))


def command(main: Callable[[], int]) -> None:
    """Runs a command's `main` and exits; mistakes of the user become one line on stderr and exit code 2."""
    try:
        code = main()
    except (UsageError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = USAGE_EXIT_CODE
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turns tyro's and pydantic's messages into a UsageError; --help passes."""
    messages = io.StringIO()
    try:
        with redirect_stderr(messages):
            yield
    except ValidationError as error:
        raise UsageError(_validation_line(error)) from error
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise UsageError(_plain_line(messages.getvalue())) from error


def _check_flags(arguments: Sequence[str], known: set[str]) -> None:
    for argument in arguments:
        flag = argument.split("=", 1)[0]
        if re.match(r"--?[A-Za-z]", flag) and flag.replace("_", "-") not in known:
            raise UsageError(f"unknown flag: found {flag}{_nearest(flag, known)}; --help lists all")


def _flags(config: BaseModel, prefix: str) -> Iterator[str]:
    for name in type(config).model_fields:
        value, kebab = getattr(config, name), name.strip("_").replace("_", "-")
        if isinstance(value, BaseModel):
            yield from _flags(value, f"{prefix}{kebab}.")
        else:
            yield f"{prefix}{kebab}"
            if isinstance(value, bool):
                yield f"{prefix}no-{kebab}"


def _nearest(found: str, known: Sequence[str] | set[str] | dict[str, object]) -> str:
    # Only the last part of a dotted flag may be wrong or the whole path unknown: try both.
    matches = get_close_matches(found, sorted(known), n=1, cutoff=0.5)
    if not matches:
        matches = [name for name in sorted(known) if name.split(".")[-1] == found.split(".")[-1].lstrip("-")][:1]
    return f"; did you mean {matches[0]}?" if matches else ""


def _validation_line(error: ValidationError) -> str:
    first = error.errors()[0]
    flag = "--" + ".".join(str(part).replace("_", "-") for part in first["loc"])
    return _value_line(flag, first["msg"], repr(first["input"]))


def _value_line(flag: str, message: str, found: str) -> str:
    if message.startswith("Value error, "):
        return f"{flag}: {message.removeprefix('Value error, ')}"
    expected = re.sub(r"^Input should be (a )?(valid )?", "", message)
    return f"{flag}: found {found}, expected {expected}"


def _plain_line(boxed: str) -> str:
    """What tyro says in a box of several lines, as one line."""
    lines = [line.strip("│ ").rstrip() for line in boxed.splitlines() if line.startswith("│")]
    body = []
    for line in lines:
        if set(line) <= {"─"} and body:
            break
        body.append(line)
    text = " ".join(body)
    if validation := re.search(
        r"parsing (\S+): 1 validation error for \w+ (?:(\w+) )?((?:Value error|Input|\w+) .*?) ?\[type=\w+, input_value=(.*?), input_type", text
    ):
        path, field, message, found = validation.groups()
        dotted = [*path.removeprefix("__tyro-dummy-inner__.").removeprefix("config.").split("."), field]
        flag = "--" + ".".join(part.replace("_", "-") for part in dotted if part and part != "config")
        return _value_line(flag, message, found)
    if wrong := re.search(r"Error parsing (--\S+): invalid literal for (\w+)\(\) with base 10: (.*)", text):
        return f"{wrong[1]}: found {wrong[3]}, expected {wrong[2]}"
    return re.sub(r"^Error parsing ", "", text) or "the command line could not be read; --help shows how"
