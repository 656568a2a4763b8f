"""The algorithms there are, by their kind: the only place that knows them all.

What is imported here is settings; an algorithm's networks are loaded when its configuration builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, SerializeAsAny

from learners.config import AlgorithmConfig, Kinds

_FOLDERS = ("iris", "delta_iris", "jepa")
"""Of `learners/`; each has a `config` with the settings and `presets`."""


class Preset(NamedTuple):
    """A named configuration: where a command line starts."""

    description: str
    settings: Mapping[str, Any]
    """Of a run, as in a configuration file, but for those that stay as they are by default."""
    is_published: bool = False
    """Whether the algorithm's authors published scores under just this protocol."""


def register(config: type[AlgorithmConfig]) -> None:
    """Makes an algorithm known that lies outside `learners/`, by the default of its `kind`.

    Raises ValueError if there is another of that kind.
    """
    KINDS.register(config)


def add_presets(presets: Mapping[str, Preset]) -> None:
    """Makes runs known by name. Raises ValueError if there is one of that name."""
    for name, preset in presets.items():
        if PRESETS.setdefault(name, preset) is not preset:
            raise ValueError(f"found a preset {name!r} already, expected a name of its own")


def _of_folders(name: str) -> list[Any]:
    return [getattr(import_module(f"learners.{folder}.{name.lower()}"), name) for folder in _FOLDERS]


KINDS: Kinds[AlgorithmConfig] = Kinds(lambda: _of_folders("CONFIG"))
AnyAlgorithm = Annotated[SerializeAsAny[AlgorithmConfig], BeforeValidator(KINDS.choose)]
"""Type of a field that holds the settings of some algorithm."""
PRESETS: dict[str, Preset] = {}
"""Of all algorithms, by name: ours, then those of others."""
for _presets in _of_folders("PRESETS"):
    PRESETS |= _presets
OURS = tuple(PRESETS)
"""Names of our own."""
