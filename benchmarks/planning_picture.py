"""What the pieces of an agent that plans are worth, as bars, from the rows of `benchmarks.planning`.

    python -m benchmarks.planning_picture benchmarks/results/planning.json --out docs/images/pieces.png

A bar is the mean over seeds, a dot a seed. What has no row is not drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

SEARCH, SHORT, SCARCE = "cem 64 × 5, 6 × 4, sum", "cem 64 × 5, 1 × 4, sum", "cem 16 × 2, 6 × 4, sum"
WAYS: dict[str, dict[str, tuple[str, str]]] = {
    "critic, plans of one action": {
        "none": ("critic", SHORT),
        "mean": ("critic_mean", f"{SHORT}, critic × 1"),
        "mean, rehearsed": ("critic_rehearsed", f"{SHORT}, critic × 1"),
        "distance": ("critic_cost", f"{SHORT}, critic × 1"),
        "best of walks": ("critic", f"{SHORT}, critic × 1"),
        "quasimetric": ("critic_quasimetric", f"{SHORT}, critic × 1"),
    },
    "reflex": {
        "320 candidates": ("critic", SEARCH),
        "the reflex alone": ("critic", "reflex, 1 × 4"),
        "32 candidates": ("critic", SCARCE),
        "32 around the reflex": ("critic", "cem 16 × 2 from reflex, 6 × 4, sum"),
    },
    "three rooms": {
        "plans of 12 steps": ("agent", "cem 64 × 5, 3 × 4, sum"),
        "of 40, MPPI": ("agent", "mppi 64 × 5, 10 × 4, sum"),
        "of 12, two levels": ("agent", "cem 64 × 5, 3 × 4, two levels, sum"),
        "of 12, critic": ("agent", "cem 64 × 5, 3 × 4, sum, critic × 1"),
        "all, 32 candidates": ("agent", "cem 16 × 2 from reflex, 3 × 4, two levels, sum, critic × 1"),
    },
}
"""Title, label, arm and name of the way."""
SLIPS = {"true": (0.3, 0.6, 0.1)}
"""Shares of moves that are lost, done, and done twice."""
SLIP_ARMS = {"one outcome": "slip_plain", "four codes": "slip"}
Bars = Mapping[str, Sequence[float]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args(argv)
    rows = json.loads(flags.rows.read_text())["rows"]
    draw({title: successes(rows, ways) for title, ways in WAYS.items()}, slips(rows), flags.out)


def successes(rows: Sequence[Mapping[str, Any]], ways: Mapping[str, tuple[str, str]]) -> dict[str, list[float]]:
    """Of each label that was measured, one for each seed."""
    found = {
        label: [
            way["score_mean"] for row in rows if row["arm"] == arm for way in row.get("ways", ()) if way["name"] == name
        ]
        for label, (arm, name) in ways.items()
    }
    return {label: values for label, values in found.items() if values}


def slips(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Mean shares over seeds, beside the true ones."""
    found = {label: [row["outcomes"] for row in rows if row["arm"] == arm] for label, arm in SLIP_ARMS.items()}
    means = {label: [fmean(shares) for shares in zip(*each, strict=True)] for label, each in found.items() if each}
    return {**{label: list(shares) for label, shares in SLIPS.items()}, **means}


def draw(panels: Mapping[str, Bars], shares: Bars, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 5), layout="constrained")
    for axis, (title, bars) in zip(axes.flat, panels.items(), strict=False):
        for place, values in enumerate(bars.values()):
            axis.barh(place, fmean(values), color="#56b4e9")
            axis.plot(values, [place] * len(values), ".", color="black", markersize=4)
        axis.set_yticks(range(len(bars)), list(bars))
        axis.set_xlim(0, 1)
        axis.set_title(f"{title}: success", fontsize="medium")
        axis.invert_yaxis()
    last = axes.flat[-1]
    for place, (label, each) in enumerate(shares.items()):
        last.bar([outcome + 0.27 * (place - 1) for outcome in range(3)], each, 0.25, label=label)
    last.set_xticks(range(3), ["lost", "done", "done twice"])
    last.set_title("what becomes of a move: share", fontsize="medium")
    last.legend(fontsize="small", loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
