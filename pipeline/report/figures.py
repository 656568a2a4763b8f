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

from pipeline.report.comparison import THRESHOLDS, Comparison, Entry
from pipeline.report.looks import Look, lines, looks_of
from pipeline.scores.aggregates import AGGREGATES, LESS_IS_BETTER, METHOD, Estimate
from pipeline.scores.curves import Curve

Looks = Mapping[str, Look]
"""Of every algorithm of runs."""
WIDTH = 4.4
"""Inches: 422 CSS pixels, so that letters stay readable on a phone."""
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
    with matplotlib.rc_context(STYLE):
        return [_drawn(name, title, caption, figure) for name, title, caption, figure in _figures(comparison)]


def _figures(comparison: Comparison) -> Iterator[tuple[str, str, str, Figure]]:
    """Name, title and caption of each."""
    looks = looks_of(entry.name for entry in comparison.entries)
    if any(entry.normalised for entry in comparison.entries):
        yield (
            "aggregates",
            "Aggregates of human-normalised scores",
            "0 is random play, 1 a human. The interquartile mean is over runs × games, mean and median are over games. "
            "Grey diamonds: published algorithms, of which one number a game is known, so that neither their "
            f"interquartile mean nor an interval follows. {INTERVALS}",
            _aggregates(comparison, looks),
        )
        yield (
            "profiles",
            "Performance profiles",
            f"Share of runs × games above a human-normalised score. {INTERVALS}",
            _profiles(comparison, looks),
        )
    if comparison.improvement:
        yield (
            "improvement",
            "Probability of improvement",
            "That a run of the first scores higher than one of the second, mean over the games both have played; a tie "
            f"is half a win. {INTERVALS}",
            _improvement(comparison, looks),
        )
    if any(entry.normalised for entry in comparison.entries):
        yield (
            "games",
            "Games",
            "Human-normalised score of each game: bars are means over runs, dots runs, grey ticks published "
            "algorithms. Beyond 1 and −1 the axis is logarithmic.",
            _games(comparison, looks),
        )
    if comparison.learning:
        yield (
            "learning",
            "Learning curves",
            "Mean score of evaluations on the way, in the game's own units, over environment steps; how these were "
            f"played is said under Protocols. {INTERVALS}",
            _learning(comparison, looks),
        )
    if comparison.efficiency:
        yield (
            "efficiency",
            "Sample efficiency",
            f"Interquartile mean of the same, human-normalised, over runs × games, after so many steps. {INTERVALS}",
            _efficiency(comparison, looks),
        )
    if comparison.crafter:
        yield (
            "crafter",
            "Crafter: achievements",
            "Per cent of all training episodes in which an achievement was reached, mean over runs.",
            _crafter(comparison, looks),
        )


def _aggregates(comparison: Comparison, looks: Looks) -> Figure:
    entries = [*comparison.entries, *comparison.published]
    labels = {id(entry): _with_games(looks[entry.name].label, entry) for entry in comparison.entries}
    labels |= {id(entry): _with_games(entry.name, entry) for entry in comparison.published}
    panels = {name: [entry for entry in entries if name in entry.aggregates] for name in AGGREGATES}
    heights = [len(shown) * _pitch(labels[id(entry)] for entry in shown) + 0.36 for shown in panels.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout=ConstrainedLayoutEngine(h_pad=0.08))
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (name, shown) in zip(axes, panels.items(), strict=True):
        axis.set_title(f"{name} ({'less' if name == LESS_IS_BETTER else 'more'} is better)", loc="left")
        for row, entry in enumerate(shown):
            if entry in comparison.published:
                _point(axis, row, entry.aggregates[name], PUBLISHED, "D", size=4)
            else:
                _point(axis, row, entry.aggregates[name], looks[entry.name].colour, looks[entry.name].marker, size=6)
        axis.locator_params(axis="x", nbins=5)
        _rows(axis, [labels[id(entry)] for entry in shown])
    return figure


def _point(axis: Axes, row: int, found: Estimate, colour: str, marker: str, size: float) -> None:
    if found.interval:
        axis.plot(found.interval, (row, row), color=colour, linewidth=5, alpha=0.4, solid_capstyle="butt")
    axis.plot(found.value, row, color=colour, marker=marker, markersize=size, linestyle="none", clip_on=False)


def _profiles(comparison: Comparison, looks: Looks) -> Figure:
    shown = {name: looks[name] for name in comparison.profiles}
    figure, axis = _single(2.2, shown.values())
    for name, (value, interval) in comparison.profiles.items():
        axis.plot(THRESHOLDS, value, **looks[name].of_lines)
        if interval:
            axis.fill_between(THRESHOLDS, *interval, color=looks[name].colour, alpha=0.2, linewidth=0)
    axis.set(xlabel="human-normalised score τ", ylabel="share with score > τ", ylim=(0, 1.03))
    highest = max(scores.max() for entry in comparison.entries for scores in entry.normalised.values())
    axis.set_xlim(0, float(np.clip(1.05 * highest, 1.0, THRESHOLDS[-1])))
    _legend(figure, {look.label: look.line_in_legend for look in shown.values()})
    return figure


def _improvement(comparison: Comparison, looks: Looks) -> Figure:
    pairs = [(looks[of].label, looks[over].label, games) for (of, over), (_, games) in comparison.improvement.items()]
    labels = [f"{of}\nover {over},\n{_games_words(games)}" for of, over, games in pairs]
    figure, axis = _single(0.5 + _pitch(labels) * len(labels))
    for row, (found, _) in enumerate(comparison.improvement.values()):
        _point(axis, row, found, "black", "o", 6)
    axis.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axis.set(xlim=(-0.02, 1.02), xlabel="probability that the first scores higher")
    _rows(axis, labels)
    return figure


def _games(comparison: Comparison, looks: Looks) -> Figure:
    rated = [entry for entry in comparison.entries if entry.normalised]
    games = [game for game in comparison.references if any(game in entry.normalised for entry in rated)]
    figure, axis = _single(0.95 + (0.16 + 0.12 * len(rated)) * len(games), [looks[entry.name] for entry in rated])
    height = 0.8 / len(rated)
    for index, entry in enumerate(rated):
        for game, scores in entry.normalised.items():
            row = games.index(game) + (index - (len(rated) - 1) / 2) * height
            axis.barh(row, scores.mean(), height, **looks[entry.name].of_bars)
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
    bars = {looks[entry.name].label: looks[entry.name].bar_in_legend for entry in rated}
    _legend(figure, {**bars, "published": Line2D([], [], color=PUBLISHED, linewidth=1.2)})
    return figure


def _learning(comparison: Comparison, looks: Looks) -> Figure:
    games = list(comparison.learning)
    shown = {name: looks[name] for curves in comparison.learning.values() for name in curves}
    columns = min(2, len(games))
    rows = -(-len(games) // columns)
    figure = Figure(figsize=(WIDTH, 1.5 * rows + 0.4 + _legend_height(shown.values())), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, game in zip(axes, games, strict=False):
        for name, curve in comparison.learning[game].items():
            _curve(axis, curve, looks[name])
        axis.set_title(lines(game), loc="left")
        axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
        axis.locator_params(nbins=4)
    for axis in axes[len(games) :]:
        axis.set_visible(False)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("score", fontsize=9)
    _legend(figure, {look.label: look.line_in_legend for look in shown.values()})
    return figure


def _efficiency(comparison: Comparison, looks: Looks) -> Figure:
    shown = {name: looks[name] for name in comparison.efficiency}
    figure, axis = _single(2.2, shown.values())
    for name, curve in comparison.efficiency.items():
        _curve(axis, curve, looks[name])
    axis.set(xlabel="environment steps", ylabel="interquartile mean")
    axis.locator_params(axis="x", nbins=5)
    _legend(figure, {look.label: look.line_in_legend for look in shown.values()})
    return figure


def _curve(axis: Axes, curve: Curve, look: Look) -> None:
    value, interval = curve.band
    axis.plot(curve.steps, value, marker=look.marker, markersize=3, **look.of_lines)
    if interval:
        axis.fill_between(curve.steps, *interval, color=look.colour, alpha=0.2, linewidth=0)


def _crafter(comparison: Comparison, looks: Looks) -> Figure:
    achievements = sorted({name for found in comparison.crafter.values() for name in found.rates})
    shown, count = [looks[name] for name in comparison.crafter], len(comparison.crafter)
    figure, axis = _single(0.8 + (0.12 + 0.1 * count) * len(achievements), shown)
    height = 0.8 / count
    for index, (look, found) in enumerate(zip(shown, comparison.crafter.values(), strict=True)):
        rows = np.arange(len(achievements)) + (index - (count - 1) / 2) * height
        axis.barh(rows, [found.rates.get(each, 0.0) for each in achievements], height, **look.of_bars)
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set(xlim=(0, 100), xlabel="per cent of training episodes")
    _ticks(axis, [0, 1, 10, 100])
    _rows(axis, [achievement.replace("_", " ") for achievement in achievements])
    _legend(figure, {look.label: look.bar_in_legend for look in shown})
    return figure


def _single(height: float, legend: Iterable[Look] = ()) -> tuple[Figure, Axes]:
    """`height` is what there is below the legend."""
    figure = Figure(figsize=(WIDTH, height + _legend_height(legend)), layout="constrained")
    return figure, figure.subplots()


def _legend(figure: Figure, handles: Mapping[str, Artist]) -> None:
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", frameon=False)


def _legend_height(looks: Iterable[Look]) -> float:
    return sum(0.18 * (1 + look.label.count("\n")) for look in looks)


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


def _with_games(label: str, entry: Entry) -> str:
    return f"{label}, {_games_words(len(entry.normalised))}"


def _games_words(count: int) -> str:
    return f"{count} game{'s' * (count != 1)}"


def _drawn(name: str, title: str, caption: str, figure: Figure) -> Drawing:
    def saved(kind: str, **settings: Any) -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, **settings)
        return buffer.getvalue()

    svg = saved("svg", metadata={"Date": None, "Creator": None})
    return Drawing(name, title, caption, svg, saved("png", dpi=200, metadata={"Software": None}))
