"""Figures of a report: narrow enough for a phone, told apart without colour, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

from pipeline.report.comparison import THRESHOLDS, Comparison, Entry
from pipeline.scores.aggregates import AGGREGATES, Estimate
from pipeline.scores.curves import Curve

WIDTH = 4.4
"""Inches: 422 CSS pixels, so that letters stay readable on a phone."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind (Okabe and Ito)."""
MARKERS = "osD^vPX"
HATCHES = ("", "///", "...", "xxx")
LINES = ("-", "--", "-.", ":")
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
LABEL_LETTERS = 24
INTERVALS = "Bars and bands: 95 % stratified bootstrap over runs, 2 000 resamples."


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
    rated = [entry for entry in comparison.entries if entry.normalised]
    if rated or comparison.published:
        yield (
            "aggregates",
            "Aggregates of human-normalised scores",
            "0 is random play, 1 a human. The interquartile mean is over runs × games, mean and median are over games. "
            "Grey diamonds: published algorithms, of which one number a game is known, so that neither their "
            f"interquartile mean nor an interval follows. {INTERVALS}",
            _aggregates(rated, comparison.published),
        )
    if comparison.profiles:
        yield (
            "profiles",
            "Performance profiles",
            f"Share of runs × games above a human-normalised score. {INTERVALS}",
            _profiles(comparison),
        )
    if comparison.improvement:
        yield (
            "improvement",
            "Probability of improvement",
            "That a run of the first scores higher than one of the second, mean over the games both have played; a tie "
            f"is half a win. {INTERVALS}",
            _improvement(comparison),
        )
    if rated:
        yield (
            "games",
            "Games",
            "Human-normalised score of each game: bars are means over runs, dots runs, grey ticks published "
            "algorithms. Beyond 1 the axis is logarithmic.",
            _games(rated, comparison.published),
        )
    if comparison.learning:
        yield (
            "learning",
            "Learning curves",
            f"Mean score of evaluations on the way, in the game's own units, over environment steps. {INTERVALS}",
            _learning(comparison),
        )
    if comparison.efficiency:
        yield (
            "efficiency",
            "Sample efficiency",
            f"Interquartile mean of human-normalised scores over runs × games, after so many steps a game. {INTERVALS}",
            _efficiency(comparison),
        )
    if comparison.crafter:
        yield (
            "crafter",
            "Crafter: achievements",
            "Per cent of all training episodes in which an achievement was reached, mean over runs.",
            _crafter(comparison),
        )


def _aggregates(rated: Sequence[Entry], published: Sequence[Entry]) -> Figure:
    shown = {name: [entry for entry in (*rated, *published) if name in entry.aggregates] for name in AGGREGATES}
    shown = {name: entries for name, entries in shown.items() if entries}
    heights = [len(entries) * _pitch(map(_entry_label, entries)) + 0.36 for entries in shown.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout=ConstrainedLayoutEngine(h_pad=0.08))
    axes = figure.subplots(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (name, entries) in zip(axes, shown.items(), strict=True):
        better = "less is better" if name == "optimality gap" else "more is better"
        axis.set_title(f"{name} ({better})", loc="left")
        for row, entry in enumerate(entries):
            is_ours = entry in rated
            colour, marker = (_colour(rated.index(entry)), _marker(rated.index(entry))) if is_ours else (PUBLISHED, "D")
            _point(axis, row, entry.aggregates[name], colour, marker, size=6 if is_ours else 4)
        axis.locator_params(axis="x", nbins=5)
        _rows(axis, [_entry_label(entry) for entry in entries])
    return figure


def _point(axis: Axes, row: int, found: Estimate, colour: str, marker: str, size: float) -> None:
    if found.interval:
        axis.plot(found.interval, (row, row), color=colour, linewidth=5, alpha=0.4, solid_capstyle="butt")
    axis.plot(found.value, row, color=colour, marker=marker, markersize=size, linestyle="none", clip_on=False)


def _profiles(comparison: Comparison) -> Figure:
    figure, axis = _single(2.2, comparison.profiles)
    highest = max(scores.max() for entry in comparison.entries for scores in entry.normalised.values())
    for index, (name, (value, interval)) in enumerate(comparison.profiles.items()):
        axis.step(THRESHOLDS, value, where="post", color=_colour(index), linestyle=_line(index), label=_short(name))
        if interval:
            axis.fill_between(THRESHOLDS, *interval, step="post", color=_colour(index), alpha=0.2, linewidth=0)
    axis.set(xlabel="human-normalised score τ", ylabel="share with score > τ", ylim=(0, 1.03))
    axis.set_xlim(0, float(np.clip(1.05 * highest, 1.0, THRESHOLDS[-1])))
    _legend(figure, axis)
    return figure


def _improvement(comparison: Comparison) -> Figure:
    pairs = [(of, over, games) for (of, over), (_, games) in comparison.improvement.items()]
    labels = [f"{_short(of)}\nover {_short(over)},\n{_games_words(games)}" for of, over, games in pairs]
    figure, axis = _single(0.5 + _pitch(labels) * len(labels))
    for row, (interval, _) in enumerate(comparison.improvement.values()):
        _point(axis, row, interval, COLOURS[0], "o", 6)
    axis.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axis.set(xlim=(-0.02, 1.02), xlabel="probability that the first scores higher")
    _rows(axis, labels)
    return figure


def _games(rated: Sequence[Entry], published: Sequence[Entry]) -> Figure:
    games = list(dict.fromkeys(game for entry in rated for game in entry.normalised))
    figure, axis = _single(
        0.8 + (0.16 + 0.12 * len(rated)) * len(games), [*(entry.name for entry in rated), "published"]
    )
    height = 0.8 / len(rated)
    for index, entry in enumerate(rated):
        for game, scores in entry.normalised.items():
            row = games.index(game) + (index - (len(rated) - 1) / 2) * height
            label = _short(entry.name) if game == next(iter(entry.normalised)) else None
            _bars(axis, [row], [scores.mean()], height, index, label)
            axis.plot(scores, np.full(len(scores), row), ".", color="black", markersize=2.5)
    label: str | None = "published"
    for entry in published:
        for game in [game for game in games if game in entry.normalised]:
            row, score = games.index(game), entry.normalised[game].mean()
            axis.plot([score] * 2, [row - 0.4, row + 0.4], color=PUBLISHED, linewidth=1.2, label=label)
            label = None
    axis.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    axis.set_xscale("symlog", linthresh=1.0)
    ticks = [-1.0, 0.0, 1.0, 10.0, 100.0]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    shown = [entry.normalised[game] for entry in (*rated, *published) for game in games if game in entry.normalised]
    values = np.concatenate(shown)
    axis.set_xlim(min(-0.05, 1.1 * values.min()), 1.2 * max(1.0, values.max()))
    axis.set_xlabel("human-normalised score")
    _rows(axis, games)
    _legend(figure, axis)
    return figure


def _learning(comparison: Comparison) -> Figure:
    games, names = list(comparison.learning), [entry.name for entry in comparison.entries]
    columns = min(2, len(games))
    rows = -(-len(games) // columns)
    height = 1.5 * rows + 0.4 + 0.18 * sum(1 + _short(name).count("\n") for name in names)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, game in zip(axes, games, strict=False):
        for name, curve in comparison.learning[game].items():
            _band(axis, curve, names.index(name), name)
        axis.set_title(game, loc="left")
        axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
        axis.locator_params(nbins=4)
    for axis in list(axes)[len(games) :]:
        axis.set_visible(False)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("score", fontsize=9)
    labelled = [zip(*axis.get_legend_handles_labels(), strict=True) for axis in figure.axes]
    handles = {label: handle for pairs in labelled for handle, label in pairs}
    figure.legend(list(handles.values()), list(handles), loc="outside upper left", frameon=False)
    return figure


def _efficiency(comparison: Comparison) -> Figure:
    figure, axis = _single(2.2, comparison.efficiency)
    names = [entry.name for entry in comparison.entries]
    for name, curve in comparison.efficiency.items():
        _band(axis, curve, names.index(name), name)
    axis.set(xlabel="environment steps", ylabel="interquartile mean")
    axis.locator_params(axis="x", nbins=5)
    _legend(figure, axis)
    return figure


def _band(axis: Axes, curve: Curve, index: int, name: str) -> None:
    style: Any = {"color": _colour(index), "linestyle": _line(index), "marker": _marker(index)}
    value, interval = curve.band
    axis.plot(curve.steps, value, markersize=3, label=_short(name), **style)
    if interval:
        axis.fill_between(curve.steps, *interval, color=_colour(index), alpha=0.2, linewidth=0)


def _crafter(comparison: Comparison) -> Figure:
    achievements = sorted({name for found in comparison.crafter.values() for name in found.rates})
    count = len(comparison.crafter)
    figure, axis = _single(0.8 + (0.12 + 0.1 * count) * len(achievements), comparison.crafter)
    height, names = 0.8 / count, [entry.name for entry in comparison.entries]
    for index, (name, found) in enumerate(comparison.crafter.items()):
        rows = np.arange(len(achievements)) + (index - (count - 1) / 2) * height
        rates = [found.rates.get(achievement, 0.0) for achievement in achievements]
        label, own = f"{_short(name)}: score {found.score.value:.1f} %", names.index(name)
        _bars(axis, rows, rates, height, own, label)
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set(xlim=(0, 100), xlabel="per cent of training episodes")
    axis.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axis.set_xticks([], minor=True)
    _rows(axis, [achievement.replace("_", " ") for achievement in achievements])
    _legend(figure, axis)
    return figure


def _bars(axis: Axes, rows: ArrayLike, values: ArrayLike, height: float, index: int, label: str | None) -> None:
    style: Any = {"color": _colour(index), "alpha": 0.55, "hatch": HATCHES[index % len(HATCHES)]}
    axis.barh(rows, values, height, label=label, **style)


def _single(height: float, legend: Iterable[str] = ()) -> tuple[Figure, Axes]:
    """`height` is what there is below a legend of such names."""
    lines = [line for name in legend for line in _short(name).splitlines()]
    figure = Figure(figsize=(WIDTH, height + 0.18 * len(lines)), layout="constrained")
    return figure, figure.subplots()


def _rows(axis: Axes, labels: Sequence[str]) -> None:
    """One a row, from the top."""
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def _pitch(labels: Iterable[str]) -> float:
    """Inches from one row to the next."""
    return 0.08 + 0.16 * max(1 + label.count("\n") for label in labels)


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", frameon=False, ncols=1)


def _entry_label(entry: Entry) -> str:
    return f"{_short(entry.name)}, {_games_words(len(entry.normalised))}"


def _games_words(count: int) -> str:
    return f"{count} game{'s' * (count != 1)}"


def _short(name: str) -> str:
    """In a few lines, and without mathematics, which a dollar sign would begin."""
    return "\n".join(wrap(name, LABEL_LETTERS, max_lines=3, placeholder=" …")).replace("$", r"\$")


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def _line(index: int) -> str:
    return LINES[index % len(LINES)]


def _drawn(name: str, title: str, caption: str, figure: Figure) -> Drawing:
    def saved(kind: str, **settings: Any) -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, **settings)
        return buffer.getvalue()

    svg = saved("svg", metadata={"Date": None, "Creator": None})
    return Drawing(name, title, caption, svg, saved("png", dpi=200, metadata={"Software": None}))
