"""The table of a report: a row a game, a column an algorithm, the best in bold; as Markdown, as LaTeX, for the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.report.comparison import Comparison, Entry, runs_a_game
from pipeline.scores.aggregates import AGGREGATES, LESS_IS_BETTER, METHOD, Estimate

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
    algorithms = [*comparison.entries, *comparison.published]
    others = sorted({game for entry in algorithms for game in entry.scores} - set(comparison.references))
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
    table, escape = table_of(comparison), _escaped(_MARKDOWN)
    columns = [escape(name) for name in _columns(table, "{} (published)")]
    lines = ["| game | " + " | ".join(columns) + " |", "|:--|" + "--:|" * len(columns)]
    for row in [*table.games, *table.summary]:
        cells = [f"**{cell.text}**" if cell.is_best else cell.text for cell in row.cells]
        lines.append("| " + " | ".join([escape(row.label), *cells]) + " |")
    lines += ["", _caption(table), ""]
    lines += [f"- **{escape(name)}**: {escape(protocol)}" for name, protocol in protocols(comparison)]
    if comparison.notes:
        lines += ["", *(f"- Note: {escape(note)}." for note in comparison.notes)]
    return "\n".join([*lines, ""])


def latex(comparison: Comparison) -> str:
    """For a document that loads booktabs."""
    table, escape = table_of(comparison), _escaped(_LATEX)
    columns = _columns(table, "{}")
    spans, start = [], 2
    for name, members in table.groups:
        spans.append((name, start, start + len(members) - 1))
        start += len(members)
    heads = [rf"\multicolumn{{{last - first + 1}}}{{c}}{{{name}}}" for name, first, last in spans]
    rules = "".join(rf"\cmidrule(lr){{{first}-{last}}}" for _, first, last in spans)
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        rules,
        " & ".join(["game", *map(escape, columns)]) + r" \\",
        r"\midrule",
    ]
    for rows in (table.games, table.summary):
        for row in rows:
            cells = [rf"\textbf{{{escape(cell.text)}}}" if cell.is_best else escape(cell.text) for cell in row.cells]
            lines.append(" & ".join([escape(row.label), *cells]) + r" \\")
        if rows is table.games and table.summary:
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}", f"% {_caption(table)}"]
    lines += [f"% {_one_line(name)}: {_one_line(protocol)}" for name, protocol in protocols(comparison)]
    return "\n".join([*lines, *(f"% Note: {_one_line(note)}" for note in comparison.notes), ""])


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
    values = [entry.scores[game].mean() if game in entry.scores else None for entry in _entries(comparison)]
    reference = [f"{value:.1f}" for value in comparison.references.get(game, ())] or ["", ""]
    return _row(game, comparison, ["" if value is None else f"{value:.1f}" for value in values], values, reference)


def _summary(comparison: Comparison) -> Iterator[Row]:
    entries = _entries(comparison)
    same_games = len({tuple(entry.normalised) for entry in entries if entry.normalised}) == 1
    for name in AGGREGATES:
        found = [entry.aggregates.get(name) for entry in entries]
        values = [each.value if each and same_games else None for each in found]
        choose = min if name == LESS_IS_BETTER else max
        yield _row(name, comparison, [_words(each) if each else "" for each in found], values, choose=choose)
    counts = [entry.superhuman if entry.normalised else None for entry in entries]
    values = [float(each[0]) if each and same_games else None for each in counts]
    yield _row("superhuman games", comparison, [_superhuman(*each) if each else "" for each in counts], values)
    yield _row("of games", comparison, [str(len(entry.normalised) or "") for entry in entries])
    runs = [runs_a_game(entry.normalised) if entry.normalised else "" for entry in comparison.entries]
    yield _row("runs a game", comparison, [*runs, *[""] * len(comparison.published)])


def _crafter(comparison: Comparison) -> Iterator[Row]:
    if comparison.crafter:
        found = [comparison.crafter.get(entry.name) for entry in comparison.entries]
        texts = [_words(each.score) if each else "" for each in found]
        yield _row("Crafter score in training, %", comparison, [*texts, *[""] * len(comparison.published)])


def _entries(comparison: Comparison) -> list[Entry]:
    return [*comparison.entries, *comparison.published]


def _row(
    label: str,
    comparison: Comparison,
    texts: Sequence[str],
    values: Sequence[float | None] = (),
    reference: Sequence[str] = ("", ""),
    choose: Callable[..., float | None] = max,
) -> Row:
    """Texts of all entries, with the best of their values in bold; the reference stands before the published ones."""
    best = choose((value for value in values if value is not None), default=None)
    are_best = [value is not None and value == best for value in values] or [False] * len(texts)
    cells = [Cell(text, is_best) for text, is_best in zip(texts, are_best, strict=True)]
    ours, between = len(comparison.entries), [Cell(text) for text in reference] if comparison.published else []
    return Row(label, [*cells[:ours], *between, *cells[ours:]])


def _words(found: Estimate) -> str:
    words = f" ({found.interval[0]:.3f} to {found.interval[1]:.3f})" if found.interval else ""
    return f"{found.value:.3f}{words}"


def _superhuman(at_least: int, above: int) -> str:
    return str(at_least) if at_least == above else f"{at_least} ({above} strictly)"


_MARKDOWN = {character: f"\\{character}" for character in "\\|*_`<>[]"}
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def _escaped(replacements: Mapping[str, str]) -> Callable[[str], str]:
    pattern = re.compile("|".join(map(re.escape, replacements)))
    return lambda text: pattern.sub(lambda match: replacements[match[0]], _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
