"""The command line of every command: flags made of a model's fields, and one clear line for every mistake.

argparse lays out the help. The line itself is read here: argparse takes -1e-4 for a flag and the last of two values for
the one that is meant, and its messages say neither what was found nor what was expected.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from cluster.errors import ClusterError
from cluster.process import num_cores
from cluster.this_process import prepare
from learners.config import Config
from learners.errors import AlgorithmError
from pipeline.config import NO_FLAG, RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.presets import presets

LONGEST_LINE = 1500
USAGE_EXIT_CODE = 2
FAILURE_EXIT_CODE = 1
_HELP = {"--help", "-h"}
Model = TypeVar("Model", bound=BaseModel)
Presets = Mapping[str, tuple[str, Config]]
"""Name -> what it is, in words, and the settings."""


class Positional:
    """Marks an argument of a tool that has no flag: `Annotated[Path, Positional()]`. A tuple takes any number."""


class Tool(Config):
    """Base of the arguments of what starts or reads a run."""

    allow_module: tuple[str, ...] = ()
    """Modules to import, which register algorithms and environments of their own, or which config.json names (env.id
    "module:Name-v0"). That runs their code; a run's files alone make nothing of it run."""


class Launch(Tool):
    """A run and how to start it; only `config` is part of what the run is."""

    config: RunConfig
    run_dir: Path | None = None
    """Where the run lives; default: runs/<preset>-<game>-seed<seed>. An existing one of the same run is resumed."""
    allow_open_cluster: bool = False
    """Join the cluster at RAY_ADDRESS even if others can reach it and it asks for no token: they can run code there."""
    in_process: bool = False
    """Play the whole run in this process, without Ray: for a debugger or a notebook. It computes the same."""
    accept_loss: bool = False
    """Go on without stored steps that are lost for good, where otherwise the run would stop; how many is recorded."""


def parse(argv: Sequence[str], program: str) -> Launch:
    """How to start the run that `argv` describes, as `parse_preset` reads it."""
    return parse_preset(Launch, argv, program)


def parse_preset(
    model: type[Model], argv: Sequence[str], program: str, known: Callable[[], Presets] = presets
) -> Model:
    """The preset named first in `argv` as the `config` of a model, with the flags that follow applied to both.

    Args:
        known: all presets, once modules are imported that may add some.

    Raises: UsageError, in one line, for an unknown preset or flag, a flag twice, a wrong type or a value out of range;
        SystemExit once help was shown.
    """
    if "--in-process" in argv:  # before a module loads torch
        prepare(num_cores())
    _import_modules(next((texts for flag, texts in _by_flag(argv) if _kebab(flag) == "--allow-module"), ()))
    try:
        named = known()
    except ValueError as error:  # of a module that was allowed
        raise UsageError(str(error)) from error
    if argv[:1] and argv[0].startswith("-") and _HELP.intersection(argv):
        width = max(map(len, named))
        listed = "\n".join(f"  {name:{width}} {description}" for name, (description, _) in named.items())
        print(f"usage: {program} PRESET [--flag value ...]\n\n{listed}\n\nPRESET --help lists every setting.")
        raise SystemExit(0)
    if not argv or argv[0] not in named:
        found, nearest = (repr(argv[0]), _nearest(argv[0], named)) if argv else ("none", "")
        raise UsageError(f"preset: found {found}, expected one of {', '.join(named)} as the first argument{nearest}")
    description, config = named[argv[0]]
    started = model.model_construct(config=config)
    return _with_flags(started, argv[1:], f"{program} {argv[0]}", description, pairs=True)


def parse_arguments(model: type[Model], argv: Sequence[str], program: str) -> Model:
    """The command line of a tool whose arguments are one model; a bool has only the flag that changes it.

    Raises: UsageError, in one line, for what `parse` refuses and an argument that is missing; SystemExit after help.
    """
    arguments = _with_flags(model.model_construct(), argv, program, model.__doc__ or "", pairs=False)
    if getattr(arguments, "in_process", False):
        prepare(threads=1)
    _import_modules(getattr(arguments, "allow_module", ()))
    return arguments


def _import_modules(names: Iterable[str]) -> None:
    """Raises UsageError, in one line, for one that cannot be imported, or registers what there is already."""
    for name in names:
        try:
            import_module(name)
        except (ImportError, ValueError, TypeError) as error:  # TypeError: a relative name
            raise UsageError(f"--allow-module: found {name!r}, which cannot be imported: {error}") from error


def command(main: Callable[[], int]) -> None:
    """Runs a command's `main` and exits; mistakes of the user become one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no ± shows \xb1
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            code = main()
        except (UsageError, ClusterError, AlgorithmError) as error:
            print(f"error: {in_one_line(error)}", file=sys.stderr)
            code = USAGE_EXIT_CODE
        except BrokenPipeError:
            raise
        except (RunFailedError, OSError) as error:  # a disk that is full, or fails
            print(f"error: {in_one_line(error)}", file=sys.stderr)
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


def in_one_line(error: object) -> str:
    """What it says: characters that cannot be printed are escaped, the middle of what is very long is left out."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(error))
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 300]} … {line[-290:]}"


class _Setting:
    """The field `name` of `owner`, which the command line may set; `prefix` leads to the owner."""

    def __init__(self, owner: BaseModel, prefix: str, name: str, *, pairs: bool) -> None:
        field = type(owner).model_fields[name]
        self.owner, self.path, self.section = owner, prefix + name, _kebab(prefix.rstrip("."))
        self.description, self.default = field.description or "", getattr(owner, name, ...)  # `...` if there is none
        self.many = get_origin(field.annotation) is tuple
        self.kind: Any = field.annotation  # of one value, without its bounds: those the model checks
        while get_origin(self.kind) not in (None, Literal):
            self.kind = get_args(self.kind)[0]
        self.choices = {str(choice): choice for choice in get_args(self.kind)}
        one = " or ".join(map(repr, self.choices.values())) or self.kind.__name__.lower()
        self.words = f"{one} values" if self.many else one
        self.positional = name.upper() if any(isinstance(mark, Positional) for mark in field.metadata) else ""
        self.flags = {} if self.positional else {_kebab(f"--{prefix}{name}"): True}  # with what each says of a bool
        if self.kind is bool:
            both = self.flags | {_kebab(f"--{prefix}no_{name}"): False}
            self.flags = {flag: says for flag, says in both.items() if pairs or says is not self.default}

    def value(self, name: str, texts: Sequence[str]) -> Any:
        """What the texts after its name mean. Raises UsageError for too few, too many and for another type."""
        if self.kind is bool:
            if texts:
                raise UsageError(f"{name}: found the value {texts[0]!r}, expected none: the flag itself says it")
            return self.flags[name]
        if not (texts or self.many):
            raise UsageError(f"{name}: found no value, expected {self.words}")
        convert = self.choices.__getitem__ if self.choices else TypeAdapter(self.kind).validate_strings
        try:
            values = tuple(map(convert, texts))
        except (KeyError, ValidationError) as error:
            raise UsageError(f"{name}: found {' '.join(texts)!r}, expected {self.words}") from error
        return values if self.many else values[0]


def _with_flags(model: Model, argv: Sequence[str], program: str, description: str, *, pairs: bool) -> Model:
    """`model` as `argv` changes it; `pairs`: a bool has both of its flags, not only the one that changes it."""
    settings = list(_settings(model, pairs))
    if _HELP.intersection(argv):
        print(_help(settings, program, description), end="")
        raise SystemExit(0)
    return _replaced(model, _read(argv, settings))


def _settings(model: BaseModel, pairs: bool, prefix: str = "") -> Iterator[_Setting]:
    """Of `model` and of the models that its fields hold, which need not be of the types that the fields declare."""
    for name in type(model).model_fields:
        value = getattr(model, name, ...)
        if isinstance(value, BaseModel):
            yield from _settings(value, pairs, _inside(prefix, name))
        elif NO_FLAG not in type(model).model_fields[name].metadata:
            yield _Setting(model, prefix, name, pairs=pairs)


def _inside(prefix: str, name: str) -> str:
    """The prefix of what is in a field; what makes up a run has none."""
    return "" if prefix + name == "config" else f"{prefix}{name}."


def _read(argv: Sequence[str], settings: Sequence[_Setting]) -> dict[str, Any]:
    """The value of each setting that `argv` names, by its path. Raises UsageError."""
    flags = {flag: setting for setting in settings for flag in setting.flags}
    positional = {setting.positional: setting for setting in settings if setting.positional}
    given: dict[str, Any] = {}
    (_, loose), *flagged = _by_flag(argv)
    for found, texts in flagged:
        if (flag := _kebab(found)) not in flags:
            raise UsageError(f"unknown flag: found {found}{_nearest(flag, flags)}; --help lists all")
        setting = flags[flag]
        if setting.path in given:
            raise UsageError(f"--{_kebab(setting.path)}: found it twice, expected it once")
        taken = len(texts) if setting.many else 0 if setting.kind is bool and positional else 1
        given[setting.path] = setting.value(flag, texts[:taken])
        loose += texts[taken:]
    for name, setting in positional.items():
        texts, loose = (loose, []) if setting.many else (loose[:1], loose[1:])
        if texts:
            given[setting.path] = setting.value(name, texts)
    if loose:
        raise UsageError(f"found {loose[0]!r}, expected a flag there or nothing; --help lists all flags")
    for name, setting in (positional | flags).items():
        if setting.default is ... and setting.path not in given:
            raise UsageError(f"{name}: found none, expected {setting.words}")
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


def _replaced(model: Model, given: Mapping[str, Any], prefix: str = "") -> Model:
    """`model` with what is given. The models in it come first, so that each is validated as what it is."""
    values = {}
    for name in type(model).model_fields:
        value = given.get(prefix + name, getattr(model, name, ...))
        values[name] = _replaced(value, given, _inside(prefix, name)) if isinstance(value, BaseModel) else value
    try:
        return type(model).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path, message = prefix + ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        if not path:  # of settings that do not go together; the message begins with one of them
            raise UsageError(f"--{_kebab(message)}") from error
        if first["type"] != "value_error":
            expected = re.sub("^Input should be (a )?(valid )?", "", message)
            message = f"found {first['input']!r}, expected {expected}"
        raise UsageError(f"--{_kebab(path.rstrip('.'))}: {message}") from error


def _kebab(name: str) -> str:
    """As flags are written; an underscore at the end (lambda_) stays."""
    return re.sub("_(?=[a-z])", "-", name)


def _nearest(found: str, known: Iterable[str]) -> str:
    last_parts = {name.split(".")[-1].lstrip("-"): name for name in sorted(known, reverse=True)}
    if whole := get_close_matches(found, sorted(known), n=1, cutoff=0.7):
        return f"; did you mean {whole[0]}?"
    if part := get_close_matches(found.split(".")[-1].lstrip("-"), last_parts, n=1, cutoff=0.7):
        return f"; did you mean {last_parts[part[0]]}?"
    return ""


def _help(settings: Sequence[_Setting], program: str, description: str) -> str:
    """In one group for each model."""
    positional = [setting.positional + " ..." * setting.many for setting in settings if setting.positional]
    usage = " ".join([program, *positional, "[--flag value ...]"])
    layout = partial(argparse.HelpFormatter, width=100)
    parser = argparse.ArgumentParser(usage=usage, description=description, formatter_class=layout)
    add = {"": parser.add_argument}
    for setting in settings:
        if setting.section not in add:
            add[setting.section] = parser.add_argument_group(setting.section, setting.owner.__doc__).add_argument
        value: dict[str, Any] = {"action": "store_true"}
        if setting.kind is not bool:
            metavar = None if setting.choices else setting.positional or setting.kind.__name__.upper()
            value = {"nargs": "*" if setting.many else None, "choices": setting.choices or None, "metavar": metavar}
        default = setting.default
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        note = "" if default is None else " (required)" if default is ... else f" (default: {shown or 'none'})"
        text = (setting.description + note).strip().replace("%", "%%")
        add[setting.section](*(setting.flags or [setting.positional]), help=text, **value)
    return parser.format_help()
