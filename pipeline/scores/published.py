"""Published results on Atari 100k, as data: one number for each game, the mean over an algorithm's runs.

`atari100k.csv`: 26 games, from the tables of Micheli, Alonso, Fleuret, "Transformers are Sample-Efficient World
Models", ICLR 2023. `atari100k_8_games.csv`: 8 games, rounded, whose source is not known; the aggregates printed for
Δ-IRIS (Micheli, Alonso, Fleuret, ICML 2024) follow from its last column. What does not follow from these numbers is
said in docs/reproduction.md.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

from pipeline.scores.aggregates import Reference

PROTOCOL = "as in the paper of each; one number a game, the mean over its runs"
"""Of all of them; how they differ is not part of the tables."""


class Published(NamedTuple):
    references: Mapping[str, Reference]
    """Of each game."""
    scores: Mapping[str, Mapping[str, float]]
    """Algorithm -> game -> score."""


@cache
def load(table: str = "atari100k") -> Published:
    """A published table, in its own order."""
    text = resources.files("pipeline.scores").joinpath(f"{table}.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    columns = {name: {row["game"]: float(row[name]) for row in rows} for name in rows[0] if name != "game"}
    random, human = columns.pop("random"), columns.pop("human")
    return Published({game: Reference(random[game], human[game]) for game in random}, columns)
