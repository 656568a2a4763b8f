"""The command line of a run: a preset by name, dotted flags on top of it, and one clear line for every mistake."""

from __future__ import annotations

import io
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel, ValidationError
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from cluster.errors import ClusterError
from learners.config import Config
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.presets import PRESETS

USAGE_EXIT_CODE = 2
FAILURE_EXIT_CODE = 1
_HELP = {"--help", "-h"}
_REGISTRY = ConstructorRegistry()
Arguments = TypeVar("Arguments", bound=Config)


class Launch(Config):
    """A run and how to start it; only `config` is part of what the run is."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    run_dir: Path | None = None
    """Where the run lives; default: runs/<preset>-<game>-seed<seed>. An existing one of the same run is resumed."""
    allow_open_cluster: bool = False
    """Join the cluster at RAY_ADDRESS even if others can reach it and it asks for no token: they can run code there."""
    in_process: bool = False
    """Play the whole run in this process, without Ray: for a debugger or a notebook. It computes the same."""
    accept_loss: bool = False
    """Go on without stored steps that are lost for good, where otherwise the run would stop; how many is recorded."""


def parse(argv: Sequence[str], program: str) -> Launch:
    """The preset named first in `argv`, with the flags that follow applied to it.

    Raises: UsageError, in one line, for an unknown preset or flag, a wrong type or a value out of range.
    """
    if not argv or (argv[0] not in PRESETS and argv[0] not in _HELP):
        found, nearest = (repr(argv[0]), _nearest(argv[0], PRESETS)) if argv else ("none", "")
        raise UsageError(f"preset: found {found}, expected one of {', '.join(PRESETS)} as the first argument{nearest}")
    presets = {name: (description, Launch(config=config)) for name, (description, config) in PRESETS.items()}
    types = dict(_flag_types(presets[argv[0]][1], "--")) if argv[0] in presets else {}
    given = _check_arguments(argv[1:], types)
    with _one_line_errors(given, types):
        return tyro.extras.overridable_config_cli(
            presets, args=list(argv), prog=program, config=(tyro.conf.AvoidSubcommands,), registry=_REGISTRY
        )


def parse_arguments(model: type[Arguments], argv: Sequence[str], program: str) -> Arguments:
    """The command line of a tool whose arguments are one flat model. Raises UsageError, in one line."""
    fields = model.model_fields.items()
    loose = {name.upper(): field for name, field in fields if tyro.conf.Positional in field.metadata}
    many = any(get_origin(field.annotation) is tuple for field in loose.values())
    positional, needed = list(loose), sum(field.is_required() for field in loose.values())
    types = {f"--{_kebab(name)}": field.annotation for name, field in fields if name.upper() not in positional}
    given = _check_arguments(argv, types, positional, needed=needed, many=many)
    with _one_line_errors(given, types):
        return tyro.cli(model, args=list(argv), prog=program, config=(tyro.conf.FlagCreatePairsOff,))


def command(main: Callable[[], int]) -> None:
    """Runs a command's `main` and exits; mistakes of the user become one line on stderr and exit code 2."""
    try:
        try:
            code = main()
        except (UsageError, ClusterError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = USAGE_EXIT_CODE
        except BrokenPipeError:
            raise
        except (RunFailedError, OSError) as error:  # a disk that is full, or fails
            print(f"error: {error}", file=sys.stderr)
            code = FAILURE_EXIT_CODE
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except SystemExit as error:  # --help
            code = error.code
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output (`| head`) has gone; nothing is left to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)


@_REGISTRY.struct_rule
def _run_flags(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Tells tyro that every field of a run is a flag but its preset, which comes from the run it starts from."""
    if info.type is not RunConfig:
        return None
    types = get_type_hints(RunConfig, include_extras=True)
    fields = (
        StructFieldSpec(name, types[name], getattr(info.default, name), field.description)
        for name, field in RunConfig.model_fields.items()
        if name != "preset"
    )
    return StructConstructorSpec(partial(RunConfig, preset=info.default.preset), tuple(fields))


@contextmanager
def _one_line_errors(given: Mapping[str, Sequence[str]], types: Mapping[str, Any]) -> Iterator[None]:
    """Turns tyro's and pydantic's messages into a UsageError; --help passes."""
    messages = io.StringIO()
    try:
        with redirect_stderr(messages):
            yield
    except ValidationError as error:
        raise UsageError(_validation_line(error, "")) from error
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise UsageError(_rejection(error, messages.getvalue(), given, types)) from error


def _check_arguments(
    arguments: Sequence[str],
    types: Mapping[str, Any],
    positional: Sequence[str] = (),
    *,
    needed: int = 0,
    many: bool = False,
) -> dict[str, Sequence[str]]:
    """The values given for each flag. Raises UsageError for unknown flags and for too few or too many values.

    Args:
        types: of the value of each flag there is; bool flags take none, tuples any number.
        positional: names of the arguments without a flag.
        needed: how many of them must be there.
        many: the last of them takes any number.
    """
    given: dict[str, Sequence[str]] = {}
    loose: list[str] = []
    if _HELP.intersection(arguments):
        return given
    for flag, values in _by_flag(arguments):
        name = _kebab(flag)
        if flag and name not in types:
            raise UsageError(f"unknown flag: found {flag}{_nearest(name, types)}; --help lists all")
        given[name] = values
        if not flag:
            loose += values
        elif types[name] is bool:
            if values and not positional:
                raise UsageError(f"{flag}: found the value {values[0]!r}, expected none: the flag itself says it")
            loose += values
        elif get_origin(types[name]) is not tuple:
            if not values:
                raise UsageError(f"{flag}: found no value, expected {_type_words(types[name])}")
            loose += values[1:]
    if len(loose) < needed:
        raise UsageError(f"{positional[len(loose)]}: found none, expected {' '.join(positional)} on the command line")
    if len(loose) > len(positional) and not many:
        raise UsageError(f"found {loose[len(positional)]!r}, expected a flag there or nothing; --help lists all flags")
    return given


def _by_flag(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the arguments that follow it; "" with those before the first. A number is not a flag."""
    flag, values = "", []
    for argument in arguments:
        if re.match(r"--?[A-Za-z]", argument):
            yield flag, values
            flag, equals, value = argument.partition("=")
            values = [value] if equals else []
        else:
            values.append(argument)
    yield flag, values


def _flag_types(model: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every flag that sets a field of `model` or of a model in it, with the type of its value."""
    for name, field in type(model).model_fields.items():
        value, kebab = getattr(model, name), _kebab(name)
        if name == "config":  # of a Launch: its flags have no prefix
            yield from _flag_types(value, prefix)
        elif isinstance(value, BaseModel):
            yield from _flag_types(value, f"{prefix}{kebab}.")
        elif not (isinstance(model, RunConfig) and name == "preset"):
            yield f"{prefix}{kebab}", field.annotation
            if isinstance(value, bool):
                yield f"{prefix}no-{kebab}", bool


def _kebab(name: str) -> str:
    """As tyro writes flags: an underscore at the end (lambda_) stays."""
    return re.sub("_(?=[a-z])", "-", name)


def _nearest(found: str, known: Iterable[str]) -> str:
    last_parts = {name.split(".")[-1].lstrip("-"): name for name in sorted(known, reverse=True)}
    if whole := get_close_matches(found, sorted(known), n=1, cutoff=0.7):
        return f"; did you mean {whole[0]}?"
    if part := get_close_matches(found.split(".")[-1].lstrip("-"), last_parts, n=1, cutoff=0.7):
        return f"; did you mean {last_parts[part[0]]}?"
    return ""


def _rejection(error: SystemExit, boxed: str, given: Mapping[str, Sequence[str]], types: Mapping[str, Any]) -> str:
    """Why tyro exited, as one line; it says so in a box of several lines."""
    lines = (line.strip("│ ") for line in boxed.splitlines() if line.startswith("│"))
    text = " ".join(itertools.takewhile(lambda line: not line or set(line) != {"─"}, lines))
    cause: BaseException | None = error
    while cause and not isinstance(cause, ValidationError):
        cause = cause.__context__
    if cause and (model := re.match(r"Error parsing (?:__tyro-dummy-inner__\.)?(?:config\.)?(\S+):", text)):
        return _validation_line(cause, f"{model[1]}.")
    if flag := next((flag for flag in re.findall(r"--[A-Za-z][\w.-]*", text) if flag in given), None):
        return f"{flag}: found {' '.join(given[flag])!r}, expected {_type_words(types[flag])}"
    return text or "the command line could not be read; --help shows how"


def _validation_line(error: ValidationError, model: str) -> str:
    first = error.errors()[0]
    path, message = (model + ".".join(map(str, first["loc"]))).strip("."), first["msg"].removeprefix("Value error, ")
    if not path:  # of settings that do not go together; the message begins with one of them
        return f"--{_kebab(message)}"
    flag = f"--{_kebab(path)}"
    if first["type"] == "value_error":
        return f"{flag}: {message}"
    return f"{flag}: found {first['input']!r}, expected {re.sub('^Input should be (a )?(valid )?', '', first['msg'])}"


def _type_words(annotation: Any) -> str:
    """int; int values; 'cpu' or 'cuda'."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if get_origin(annotation) is tuple:
        return f"{_type_words(arguments[0])} values"
    return _type_words(arguments[0]) if arguments else annotation.__name__.lower()
