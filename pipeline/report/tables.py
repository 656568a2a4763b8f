"""The table of a report: a row a game, a column an algorithm, the best in bold; as Markdown, as LaTeX, for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.report.comparison import Comparison, runs_a_game
from pipeline.scores.aggregates import AGGREGATES, LESS_IS_BETTER, METHOD, superhuman

IN_BRACKETS = f"In brackets: {METHOD}."


class Cell(NamedTuple):
    text: str
    """Empty where there is nothing to say."""
    is_best: bool = False


class Row(NamedTuple):
    label: str
    cells: Sequence[Cell]


class Table(NamedTuple):
    groups: Sequence[tuple[str, Sequence[str]]]
    """Columns, under what they have in common."""
    games: Sequence[Row]
    """Scores in the games' own units, means over runs."""
    summary: Sequence[Row]
    """Aggregates of human-normalised scores, and Crafter's score."""


def table_of(comparison: Comparison) -> Table:
    others = sorted({game for entry in comparison.all_entries for game in entry.scores} - set(comparison.references))
    known = list(comparison.references) if comparison.published else []
    groups = [("runs", [entry.name for entry in comparison.entries])]
    if known:
        groups += [("reference", ["random", "human"]), ("published", [entry.name for entry in comparison.published])]
    return Table(
        groups,
        [_game(game, comparison) for game in [*known, *others]],
        [*(_summary(comparison) if known else []), *_crafter(comparison)],
    )


def markdown(comparison: Comparison) -> str:
    table = table_of(comparison)
    columns = [_in_markdown(name) for name in _columns(table, "{} (published)")]
    lines = ["| game | " + " | ".join(columns) + " |", "|:--|" + "--:|" * len(columns)]
    lines += ["| " + " | ".join(_texts(row, _in_markdown, "**{}**")) + " |" for row in (*table.games, *table.summary)]
    lines += ["", _caption(table), ""]
    lines += [f"- **{_in_markdown(name)}**: {_in_markdown(protocol)}" for name, protocol in protocols(comparison)]
    if comparison.notes:
        lines += ["", *(f"- Note: {_in_markdown(note)}." for note in comparison.notes)]
    return "\n".join([*lines, ""])


def latex(comparison: Comparison) -> str:
    """For a document that loads booktabs."""
    table = table_of(comparison)
    columns = _columns(table, "{}")
    heads, rules, last = [""], "", 1
    for name, members in table.groups:
        first, last = last + 1, last + len(members)
        heads.append(rf"\multicolumn{{{len(members)}}}{{c}}{{{name}}}")
        rules += rf"\cmidrule(lr){{{first}-{last}}}"
    games, summary = (
        [" & ".join(_texts(row, _in_latex, r"\textbf{{{}}}")) + r" \\" for row in rows]
        for rows in (table.games, table.summary)
    )
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        rules,
        " & ".join(["game", *map(_in_latex, columns)]) + r" \\",
        r"\midrule",
        *games,
        *([r"\midrule", *summary] if summary else []),
        r"\bottomrule",
        r"\end{tabular}",
        f"% {_caption(table)}",
    ]
    lines += [f"% {_one_line(name)}: {_one_line(protocol)}" for name, protocol in protocols(comparison)]
    return "\n".join([*lines, *(f"% Note: {_one_line(note)}" for note in comparison.notes), ""])


def _texts(row: Row, escape: Callable[[str], str], bold: str) -> list[str]:
    """Of a label and its cells."""
    return [escape(row.label), *((bold if cell.is_best else "{}").format(escape(cell.text)) for cell in row.cells)]


def _caption(table: Table) -> str:
    return f"Scores are means over runs, the best in bold. {IN_BRACKETS if table.summary else ''}".strip()


def protocols(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """How the numbers of each column were obtained."""
    yield from ((entry.name, entry.protocol) for entry in comparison.entries)
    curves = {name for each in (*comparison.learning.values(), comparison.efficiency) for name in each}
    yield from (
        (f"{name}, curves", comparison.points_protocols[name]) for name in comparison.points_protocols if name in curves
    )
    if comparison.published:
        yield "published", comparison.published[0].protocol


def _columns(table: Table, published: str) -> list[str]:
    return [published.format(name) if group == "published" else name for group, names in table.groups for name in names]


def _game(game: str, comparison: Comparison) -> Row:
    means = [(entry.scores[game].mean(),) if game in entry.scores else None for entry in comparison.all_entries]
    words = "{:.1f}".format
    return _row(game, comparison, means, words, max, [*map(words, comparison.references.get(game, ()))])


def _summary(comparison: Comparison) -> Iterator[Row]:
    rated = [entry if entry.normalised else None for entry in comparison.all_entries]
    same_games = len({tuple(entry.normalised) for entry in rated if entry}) == 1
    for name in AGGREGATES:
        found = [entry.aggregates.get(name) for entry in comparison.all_entries]
        choose = min if name == LESS_IS_BETTER else max
        yield _row(name, comparison, found, _words, choose if same_games else None)
    counts = [entry and superhuman(entry.normalised.values()) for entry in rated]
    yield _row("superhuman games", comparison, counts, _superhuman, max if same_games else None)
    yield _row("of games", comparison, [entry and (len(entry.normalised),) for entry in rated], str)
    runs = [entry and (runs_a_game(entry.normalised),) for entry in rated[: len(comparison.entries)]]
    yield _row("runs a game", comparison, runs, str)


def _crafter(comparison: Comparison) -> Iterator[Row]:
    if comparison.crafter:
        found = [comparison.crafter.get(entry.name) for entry in comparison.entries]
        yield _row("Crafter score in training, %", comparison, [each and each.score for each in found], _words)


def _row(
    label: str,
    comparison: Comparison,
    found: Sequence[tuple[Any, ...] | None],
    words: Callable[..., str],
    choose: Callable[..., Any] | None = None,
    reference: Sequence[str] = (),
) -> Row:
    """What was found of each entry in words, and the best in bold, if one is to be chosen by what is first in each.

    Nothing was found of entries beyond the end. The reference stands before the published ones.
    """
    best = choose((each[0] for each in found if each), default=None) if choose else None
    cells = [Cell(words(*each), each[0] == best) if each else Cell("") for each in found]
    cells += [Cell("")] * (len(comparison.all_entries) - len(cells))
    if comparison.published:
        cells[len(comparison.entries) : len(comparison.entries)] = map(Cell, reference or ("", ""))
    return Row(label, cells)


def _words(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"


def _superhuman(at_least: int, above: int) -> str:
    return str(at_least) if at_least == above else f"{at_least} ({above} strictly)"


def _escaped(replacements: dict[str, str]) -> Callable[[str], str]:
    return lambda text: _one_line(text).translate(str.maketrans(replacements))


def _one_line(text: str) -> str:
    return " ".join(text.split())


_in_markdown = _escaped({character: f"\\{character}" for character in "\\|*_`<>[]"})
_in_latex = _escaped(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{character: f"{{{character}}}" for character in "[*"},  # after a line's end they would belong to it
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)
