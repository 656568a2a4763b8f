"""One page about a society, for a browser: accuracies, what became of what was made up, what is kept."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from learners.reading import read_text
from pipeline.quizzes.config import QuizzesConfig
from pipeline.records import Record

SHEETS = 5
"""The newest ones, which are in the page."""


@dataclass(frozen=True)
class Table:
    title: str
    words: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def page(config: QuizzesConfig, records: Sequence[Record], media: Path) -> str:
    """HTML that refers to nothing outside itself, with the pictures in `media` that are there."""
    loader = ChoiceLoader([PackageLoader("pipeline.quizzes", "."), PackageLoader("pipeline.report", ".")])
    templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    made = [record for record in records if "culture/generated" in record]
    tables = [_accuracies(config, records)]
    if made:
        tables += [_counts(config, made), _descriptions(made)]
    return templates.get_template("page.html").render(
        config=config,
        rounds=len(records),
        kept=_word(records[-1].get("culture/size") if records else 0),
        tables=tables,
        pictures=list(_pictures(media)),
        version=version("iris-ray"),
    )


def _accuracies(config: QuizzesConfig, records: Sequence[Record]) -> Table:
    newest = {name: value for record in records for name, value in record.items()}
    names = ["world/accuracy", *(f"world/accuracy/{task}" for task in config.society.world.tasks)]
    names += ["world/accuracy backward", "culture/accuracy", "culture/accuracy of once failed"]
    rows = [
        (f"model {number}", [_word(newest.get(f"model {number}/{name}")) for name in names])
        for number in range(config.society.models)
    ]
    words = "Share of quizzes whose whole answer is right, when each model was last tested; culture is held out."
    return Table("Accuracy", words, [name.replace("/accuracy", "").replace("/", ", ") for name in names], rows)


def _counts(config: QuizzesConfig, made: Sequence[Record]) -> Table:
    models = range(config.society.models)
    names = ["generated", "trivial", "duplicate", "repeated rules"]
    names += [f"understood by {number}" for number in (*models, len(models))] + ["validated", "kept"]
    names += [f"{what} by {number}" for what in ("made up", "failed") for number in models]
    values = {f"round {record['iteration']}": [record.get(f"culture/{name}") for name in names] for record in made}
    values["all rounds"] = [sum(each or 0 for each in column) for column in zip(*values.values(), strict=True)]
    rows = [(name, [_word(value) for value in each]) for name, each in values.items()]
    words = (
        "Quizzes, by round; repeated rules are new questions about what was shown before, made up and failed are of"
        " the kept ones, by model."
    )
    return Table("What became of what was made up", words, names, rows)


def _descriptions(made: Sequence[Record]) -> Table:
    names = ["novelty", "entropy", "distance"]
    names += [each for kind in ("colours", "components", "irregular") for each in (kind, f"{kind}_world")]
    rows = [
        (f"round {record['iteration']}", [_word(record.get(f"culture/{name}")) for name in names]) for record in made
    ]
    words = (
        "Of the kept ones: the share that no task of the world explains; the entropy, in nats, of the tasks that"
        " explain the others; cells in which one differs from the nearest of the world; and of a grid, beside those of"
        " the world, its colours, its connected components, and those that are no rectangles."
    )
    return Table("What they are like", words, [name.replace("_", ", ") for name in names], rows)


def _pictures(media: Path) -> Iterator[tuple[str, str, str]]:
    """Title, words and content of those that can be read."""
    steps, sheets = sorted(media.glob("steps-*.png"))[-1:], sorted(media.glob("culture-*.png"))[-SHEETS:]
    shown = [(media / "curves.png", "Over rounds", "Accuracies, quizzes kept, and what share of them is new.")]
    shown += [
        (path, "How quizzes are made up", "First, backwards, answered anew, in the newest round.") for path in steps
    ]
    shown += [(path, f"Kept: {path.stem}", "Who made each up, and who failed it.") for path in reversed(sheets)]
    for path, title, words in shown:
        with suppress(OSError):
            yield title, words, b64encode(read_text(path)).decode()


def _word(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value == round(value) and 1 < value < 1e6 else f"{value:.3g}"
