"""The algorithms there are, by their kind: the only place that knows them all.

What is imported here is settings; an algorithm's networks are loaded when its configuration builds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo

from learners.config import AlgorithmConfig

_FOLDERS = ("iris",)
"""Of `learners/`; each has a `config` with the settings and `presets`."""
_foreign: dict[str, type[AlgorithmConfig]] = {}


class Preset(NamedTuple):
    """A named configuration: where a command line starts."""

    description: str
    settings: Mapping[str, Any]
    """Of a run, as in a configuration file, but for those that stay as they are by default."""
    is_published: bool = False
    """Whether the algorithm's authors published scores under just this protocol."""


def register(config: type[AlgorithmConfig]) -> type[AlgorithmConfig]:
    """Makes an algorithm known that lies outside `learners/`, by the default of its `kind`; usable as a decorator.

    Raises ValueError if there is another of that kind.
    """
    kind = config.model_fields["kind"].default
    if not isinstance(kind, str) or kinds().get(kind, config) is not config:
        raise ValueError(f"{config.__name__}: found kind {kind!r}, expected a name of its own")
    _foreign[kind] = config
    return config


def kinds() -> dict[str, type[AlgorithmConfig]]:
    """Kind -> class of its settings."""
    ours = [import_module(f"learners.{folder}.config").CONFIG for folder in _FOLDERS]
    return {each.model_fields["kind"].default: each for each in ours} | _foreign


def presets() -> dict[str, Preset]:
    """All presets of our own algorithms."""
    return {
        name: preset
        for folder in _FOLDERS
        for name, preset in import_module(f"learners.{folder}.presets").PRESETS.items()
    }


def _of_its_kind(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, Mapping):
        return value
    known = kinds()
    if (kind := value.get("kind")) not in known:
        words = f"found the kind {kind!r}, expected one of {', '.join(known)}"
        raise ValueError(f"{words}, or --allow-module with the module that registers it")
    if info.mode == "json":  # where tuples are lists
        return known[kind].model_validate_json(json.dumps(value))
    return known[kind].model_validate(value)


AnyAlgorithm = Annotated[SerializeAsAny[AlgorithmConfig], BeforeValidator(_of_its_kind)]
"""Type of a field that holds the settings of some algorithm."""
