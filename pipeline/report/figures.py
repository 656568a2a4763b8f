"""Figures of a report: narrow enough for a phone, told apart without colour, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from pipeline.report.comparison import THRESHOLDS, Comparison
from pipeline.report.looks import Look, lines, looks_of
from pipeline.scores.aggregates import AGGREGATES, LESS_IS_BETTER, METHOD, Estimate

Looks = Mapping[str, Look]
"""Of every algorithm of runs."""
WIDTH = 4.4
"""Inches: 422 CSS pixels, so that letters stay readable on a phone."""
BARS = 0.8
"""Of a row, which all bars in it fill."""
PUBLISHED = "#767676"
STYLE: Any = {
    "font.size": 9.0,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "iris-ray",
}
INTERVALS = f"Bars and bands: {METHOD}, not where some game has one run only."
NAMES = ("aggregates", "profiles", "improvement", "games", "learning", "efficiency", "crafter")
"""Of all figures there may be."""


class Drawing(NamedTuple):
    """A figure with what belongs to it."""

    name: str
    """Of its files."""
    title: str
    caption: str
    svg: bytes
    png: bytes


def draw(comparison: Comparison) -> list[Drawing]:
    """Every figure for which there are numbers."""
    looks = looks_of(entry.name for entry in comparison.entries)
    figures = [
        (
            comparison.profiles,
            "aggregates",
            "Aggregates of human-normalised scores",
            "0 is random play, 1 a human. The interquartile mean is over runs × games, mean and median are over games. "
            "Grey diamonds: published algorithms, of which one number a game is known, so that neither their "
            f"interquartile mean nor an interval follows. {INTERVALS}",
            _aggregates,
        ),
        (
            comparison.profiles,
            "profiles",
            "Performance profiles",
            f"Share of runs × games above a human-normalised score. {INTERVALS}",
            _profiles,
        ),
        (
            comparison.improvement,
            "improvement",
            "Probability of improvement",
            "That a run of the first scores higher than one of the second, mean over the games both have played; a tie "
            f"is half a win. {INTERVALS}",
            _improvement,
        ),
        (
            not comparison.is_crowded and comparison.profiles,
            "games",
            "Games",
            "Human-normalised score of each game: bars are means over runs, dots runs, grey ticks published "
            "algorithms. Beyond 1 and −1 the axis is logarithmic.",
            _games,
        ),
        (
            comparison.learning,
            "learning",
            "Learning curves",
            "Mean score of evaluations on the way, in the game's own units, over environment steps; how these were "
            f"played is said under Protocols. {INTERVALS}",
            _learning,
        ),
        (
            comparison.efficiency,
            "efficiency",
            "Sample efficiency",
            f"Interquartile mean of the same, human-normalised, over runs × games, after so many steps. {INTERVALS}",
            _efficiency,
        ),
        (
            comparison.crafter,
            "crafter",
            "Crafter: achievements",
            "Per cent of all training episodes in which an achievement was reached, mean over runs.",
            _crafter,
        ),
    ]
    with matplotlib.rc_context(STYLE):
        return [
            Drawing(name, title, caption, *_saved(figure(comparison, looks)))
            for numbers, name, title, caption, figure in figures
            if numbers
        ]


def _aggregates(comparison: Comparison, looks: Looks) -> Figure:
    rows = [(entry, looks[entry.name]) for entry in comparison.entries]
    rows += [(entry, Look(entry.name, PUBLISHED, "D", "", "")) for entry in comparison.published]
    panels = {
        name: [
            (entry.aggregates[name], look, f"{look.label}, {_games_words(len(entry.normalised))}")
            for entry, look in rows
            if name in entry.aggregates
        ]
        for name in AGGREGATES
    }
    heights = [len(shown) * _pitch(label for *_, label in shown) + 0.36 for shown in panels.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout=ConstrainedLayoutEngine(h_pad=0.08))
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (name, shown) in zip(axes, panels.items(), strict=True):
        axis.set_title(f"{name} ({'less' if name == LESS_IS_BETTER else 'more'} is better)", loc="left")
        for row, (found, look, _) in enumerate(shown):
            _point(axis, row, found, look.colour, look.marker)
        axis.locator_params(axis="x", nbins=5)
        _rows(axis, [label for *_, label in shown])
    return figure


def _point(axis: Axes, row: int, found: Estimate, colour: str, marker: str) -> None:
    if found.interval:
        axis.plot(found.interval, (row, row), color=colour, linewidth=5, alpha=0.4, solid_capstyle="butt")
    size = 4 if colour == PUBLISHED else 6
    axis.plot(found.value, row, color=colour, marker=marker, markersize=size, linestyle="none", clip_on=False)


def _profiles(comparison: Comparison, looks: Looks) -> Figure:
    figure, axis = _single(2.2, _lines(looks, comparison.profiles))
    for name, band in comparison.profiles.items():
        _band(axis, THRESHOLDS, band, looks[name], marker="")
    axis.set(xlabel="human-normalised score τ", ylabel="share with score > τ", ylim=(0, 1.03))
    highest = max(scores.max() for entry in comparison.entries for scores in entry.normalised.values())
    axis.set_xlim(0, float(np.clip(1.05 * highest, 1.0, THRESHOLDS[-1])))
    return figure


def _improvement(comparison: Comparison, looks: Looks) -> Figure:
    labels = [
        f"{looks[of].label}\nover {looks[over].label},\n{_games_words(games)}"
        for (of, over), (_, games) in comparison.improvement.items()
    ]
    figure, axis = _single(0.5 + _pitch(labels) * len(labels), {})
    for row, (found, _) in enumerate(comparison.improvement.values()):
        _point(axis, row, found, "black", "o")
    axis.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axis.set(xlim=(-0.02, 1.02), xlabel="probability that the first scores higher")
    _rows(axis, labels)
    return figure


def _games(comparison: Comparison, looks: Looks) -> Figure:
    rated = [entry for entry in comparison.entries if entry.normalised]
    games = [game for game in comparison.references if any(game in entry.normalised for entry in rated)]
    legend = _bars(looks, (entry.name for entry in rated))
    legend["published"] = Line2D([], [], color=PUBLISHED, linewidth=1.2)
    figure, axis = _single(0.77 + (0.16 + 0.12 * len(rated)) * len(games), legend)
    for entry, offset in zip(rated, _offsets(len(rated)), strict=True):
        for game, scores in entry.normalised.items():
            row = games.index(game) + offset
            axis.barh(row, scores.mean(), BARS / len(rated), **looks[entry.name].of_bars)
            axis.plot(scores, np.full(len(scores), row), ".", color="black", markersize=2.5)
    for entry in comparison.published:
        for row, game in enumerate(games):
            if game in entry.normalised:
                axis.plot([entry.normalised[game].mean()] * 2, [row - 0.4, row + 0.4], color=PUBLISHED, linewidth=1.2)
    axis.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    axis.set_xscale("symlog", linthresh=1.0)
    _ticks(axis, [-1, 0, 1, 10, 100])
    shown = [each.normalised[game] for each in (*rated, *comparison.published) for game in games if game in each.scores]
    values = np.concatenate(shown)
    axis.set_xlim(min(-0.05, 1.1 * values.min()), 1.2 * max(1.0, values.max()))
    axis.set_xlabel("human-normalised score")
    _rows(axis, games)
    return figure


def _learning(comparison: Comparison, looks: Looks) -> Figure:
    games = list(comparison.learning)
    columns = min(2, len(games))
    rows = -(-len(games) // columns)
    legend = _lines(looks, (name for curves in comparison.learning.values() for name in curves))
    figure = _figure(1.5 * rows + 0.4, legend)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, game in zip(axes, games, strict=False):
        for name, curve in comparison.learning[game].items():
            _band(axis, curve.steps, curve.band, looks[name])
        axis.set_title(lines(game), loc="left")
        axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
        axis.locator_params(nbins=4)
    for axis in axes[len(games) :]:
        axis.set_visible(False)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("score", fontsize=9)
    return figure


def _efficiency(comparison: Comparison, looks: Looks) -> Figure:
    figure, axis = _single(2.2, _lines(looks, comparison.efficiency))
    for name, curve in comparison.efficiency.items():
        _band(axis, curve.steps, curve.band, looks[name])
    axis.set(xlabel="environment steps", ylabel="interquartile mean")
    axis.locator_params(axis="x", nbins=5)
    return figure


def _band(axis: Axes, places: ArrayLike, band: Estimate, look: Look, **line: Any) -> None:
    axis.plot(places, band.value, **{**look.of_lines, **line})
    if band.interval:
        axis.fill_between(places, *band.interval, color=look.colour, alpha=0.2, linewidth=0)


def _crafter(comparison: Comparison, looks: Looks) -> Figure:
    achievements = sorted({name for found in comparison.crafter.values() for name in found.rates})
    count = len(comparison.crafter)
    figure, axis = _single(0.8 + (0.12 + 0.1 * count) * len(achievements), _bars(looks, comparison.crafter))
    for (name, found), offset in zip(comparison.crafter.items(), _offsets(count), strict=True):
        rates = [found.rates.get(each, 0.0) for each in achievements]
        axis.barh(np.arange(len(achievements)) + offset, rates, BARS / count, **looks[name].of_bars)
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set(xlim=(0, 100), xlabel="per cent of training episodes")
    _ticks(axis, [0, 1, 10, 100])
    _rows(axis, [achievement.replace("_", " ") for achievement in achievements])
    return figure


def _single(height: float, legend: Mapping[str, Artist]) -> tuple[Figure, Axes]:
    figure = _figure(height, legend)
    return figure, figure.subplots()


def _figure(height: float, legend: Mapping[str, Artist]) -> Figure:
    """`height` is what there is below the legend."""
    above = sum(0.18 * (1 + label.count("\n")) for label in legend)
    figure = Figure(figsize=(WIDTH, height + above), layout="constrained")
    if legend:
        figure.legend(list(legend.values()), list(legend), loc="outside upper left", frameon=False)
    return figure


def _lines(looks: Looks, names: Iterable[str]) -> dict[str, Artist]:
    """Of algorithms in a legend."""
    return {looks[name].label: Line2D([], [], **looks[name].of_lines) for name in names}


def _bars(looks: Looks, names: Iterable[str]) -> dict[str, Artist]:
    return {looks[name].label: Patch(**looks[name].of_bars) for name in names}


def _offsets(count: int) -> NDArray[np.float64]:
    """Of the bars in a row."""
    return (np.arange(count) - (count - 1) / 2) * BARS / count


def _rows(axis: Axes, labels: Sequence[str]) -> None:
    """One a row, from the top."""
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def _pitch(labels: Iterable[str]) -> float:
    """Inches from one row to the next."""
    return 0.08 + 0.16 * max(1 + label.count("\n") for label in labels)


def _ticks(axis: Axes, values: Sequence[float]) -> None:
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.set_xticks([], minor=True)


def _games_words(count: int) -> str:
    return f"{count} game{'s' * (count != 1)}"


def _saved(figure: Figure) -> Iterator[bytes]:
    """As SVG and as PNG."""
    formats: Any = {
        "svg": {"metadata": {"Date": None, "Creator": None}},
        "png": {"dpi": 200, "metadata": {"Software": None}},
    }
    for kind, settings in formats.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, **settings)
        yield buffer.getvalue()
