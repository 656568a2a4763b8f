"""Named runs: the presets of all algorithms, as configurations."""

from __future__ import annotations

from pydantic import ValidationError

from learners import catalogue
from pipeline.config import RunConfig


def presets() -> dict[str, tuple[str, RunConfig]]:
    """Name -> what it is for, and the run; those of modules that were allowed, too."""
    return {name: (found.description, preset(name)) for name, found in catalogue.PRESETS.items()}


def preset(name: str) -> RunConfig:
    """The run of that name. Raises ValueError, in one line, if its settings are none of a run."""
    try:
        return RunConfig.model_validate({"preset": name, **catalogue.PRESETS[name].settings})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"preset {name}: {where}: {first['msg'].removeprefix('Value error, ')}") from error


PRESETS = {name: found for name, found in presets().items() if name in catalogue.OURS}
"""Our own."""


def published_like(config: RunConfig) -> RunConfig | None:
    """The published run of the same algorithm on the same kind of game; None where nothing is published."""
    for name in (name for name, found in catalogue.PRESETS.items() if found.is_published):
        published = preset(name)
        if (published.algorithm.kind, published.env.kind) == (config.algorithm.kind, config.env.kind):
            game = config.env.model_dump(include={"game"})
            return published.model_copy(update={"env": published.env.model_copy(update=game)})
    return None
