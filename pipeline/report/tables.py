"""The table of a report: a row a game, a column an algorithm, the best in bold; as Markdown, as LaTeX, for the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.report.comparison import Aggregate, Comparison, runs_a_game
from pipeline.scores.aggregates import AGGREGATES

LESS_IS_BETTER = "optimality gap"
BOOTSTRAP = "In brackets: 95 % stratified bootstrap intervals over runs, 2 000 resamples."


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
    """Human-normalised."""


def table_of(comparison: Comparison) -> Table:
    algorithms = [*comparison.entries, *comparison.published]
    others = sorted({game for entry in algorithms for game in entry.scores} - set(comparison.references))
    known = list(comparison.references) if comparison.published else []
    groups = [("runs", [entry.name for entry in comparison.entries])] if comparison.entries else []
    if known:
        groups += [("reference", ["random", "human"]), ("published", [entry.name for entry in comparison.published])]
    return Table(
        groups,
        [_game(game, comparison) for game in [*known, *others]],
        list(_summary(comparison)) if known else [],
    )


def markdown(comparison: Comparison) -> str:
    table, escape = table_of(comparison), _escaped(_MARKDOWN)
    columns = [escape(name) for name in _columns(table, "{} (published)")]
    lines = ["| game | " + " | ".join(columns) + " |", "|:--|" + "--:|" * len(columns)]
    for row in [*table.games, *table.summary]:
        cells = [f"**{cell.text}**" if cell.is_best else cell.text for cell in row.cells]
        lines.append("| " + " | ".join([row.label, *cells]) + " |")
    lines += ["", f"Scores are means over runs, the best in bold. {BOOTSTRAP if table.summary else ''}".strip(), ""]
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
    lines += [r"\bottomrule", r"\end{tabular}", f"% Scores are means over runs, the best in bold. {BOOTSTRAP}"]
    lines += [f"% {_one_line(name)}: {_one_line(protocol)}" for name, protocol in protocols(comparison)]
    return "\n".join([*lines, *(f"% Note: {_one_line(note)}" for note in comparison.notes), ""])


def protocols(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """How the numbers of each column were obtained."""
    yield from ((entry.name, entry.protocol) for entry in comparison.entries)
    if comparison.published:
        yield "published", comparison.published[0].protocol


def _columns(table: Table, published: str) -> list[str]:
    return [published.format(name) if group == "published" else name for group, names in table.groups for name in names]


def _game(game: str, comparison: Comparison) -> Row:
    means = [entry.scores[game].mean() if game in entry.scores else None for entry in comparison.entries]
    known = [entry.scores[game].mean() if game in entry.scores else None for entry in comparison.published]
    best = max((mean for mean in (*means, *known) if mean is not None), default=None)

    def cells(values: Sequence[float | None]) -> list[Cell]:
        return [Cell("") if value is None else Cell(f"{value:.1f}", value == best) for value in values]

    reference = comparison.references.get(game, ()) if comparison.published else ()
    between = [Cell(f"{value:.1f}") for value in reference] or [Cell("")] * (2 * bool(comparison.published))
    return Row(game, [*cells(means), *between, *cells(known)])


def _summary(comparison: Comparison) -> Iterator[Row]:
    entries = [*comparison.entries, *comparison.published]
    same_games = len({tuple(entry.normalised) for entry in entries if entry.normalised}) == 1

    def row(label: str, texts: Mapping[str, str], values: Mapping[str, float]) -> Row:
        choose: Callable[..., float] = min if label == LESS_IS_BETTER else max
        best = choose(values.values()) if same_games and values else None
        own, known = (
            [Cell(texts.get(entry.name, ""), values.get(entry.name) == best and best is not None) for entry in some]
            for some in (comparison.entries, comparison.published)
        )
        return Row(label, [*own, Cell(""), Cell(""), *known])

    for name in AGGREGATES:
        found = {entry.name: entry.aggregates[name] for entry in entries if name in entry.aggregates}
        texts = {key: _words(each) for key, each in found.items()}
        yield row(name, texts, {key: each.value for key, each in found.items()})
    rated = [entry for entry in entries if entry.normalised]
    superhuman = {entry.name: entry.superhuman for entry in rated}
    texts = {name: str(at) if at == above else f"{at} ({above} strictly)" for name, (at, above) in superhuman.items()}
    yield row("superhuman games", texts, {name: float(counts[0]) for name, counts in superhuman.items()})
    yield row("of games", {entry.name: str(len(entry.normalised)) for entry in rated}, {})
    ours = [entry for entry in comparison.entries if entry.normalised]
    yield row("runs a game", {entry.name: runs_a_game(entry.normalised) for entry in ours}, {})


def _words(aggregate: Aggregate) -> str:
    interval = f" ({aggregate.interval[0]:.3f} to {aggregate.interval[1]:.3f})" if aggregate.interval else ""
    return f"{aggregate.value:.3f}{interval}"


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
