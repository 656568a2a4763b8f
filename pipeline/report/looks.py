"""How an algorithm looks in every figure: its colour, and what tells it apart without colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import Any, NamedTuple

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind (Okabe and Ito)."""
MARKERS = "osD^vPX"
HATCHES = ("", "///", "...", "xxx")
LINES = ("-", "--", "-.", ":")
LABEL_LETTERS = 24
LABEL_LINES = 3


class Look(NamedTuple):
    label: str
    """In a few lines."""
    colour: str
    marker: str
    line: str
    hatch: str

    @property
    def of_lines(self) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.line, "marker": self.marker, "markersize": 3}

    @property
    def of_bars(self) -> dict[str, Any]:
        return {"facecolor": self.colour, "edgecolor": "white", "alpha": 0.6, "hatch": self.hatch}


def looks_of(names: Iterable[str]) -> Mapping[str, Look]:
    """Of algorithms, each with a label of its own."""
    looks: dict[str, Look] = {}
    for index, name in enumerate(names):
        label = lines(name)
        if label in (other.label for other in looks.values()):
            label = f"{label} ({index + 1})"
        colour, marker, line, hatch = (each[index % len(each)] for each in (COLOURS, MARKERS, LINES, HATCHES))
        looks[name] = Look(label, colour, marker, line, hatch)
    return looks


def lines(name: str) -> str:
    """In a few lines, and without mathematics, which a dollar sign would begin."""
    return "\n".join(wrap(name, LABEL_LETTERS, max_lines=LABEL_LINES, placeholder=" …")).replace("$", r"\$")
