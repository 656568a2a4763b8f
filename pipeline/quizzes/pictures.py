"""Pictures of a society: the quizzes that it keeps, how they were made up, how it goes on.

Legend: N quizzes, H cells per side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw

from learners.durable import write_durably
from learners.quizzes.culture import Cells, Culture
from learners.quizzes.tasks import Grid, Grids
from learners.quizzes.validation import FAILS

COLOURS = (
    (255, 255, 255),
    (255, 0, 0),
    (0, 192, 0),
    (0, 0, 255),
    (255, 224, 0),
    (0, 255, 255),
    (224, 128, 255),
    (192, 255, 192),
    (165, 42, 42),
    (192, 192, 255),
    (128, 128, 128),
)
"""White, red, green, blue, yellow, cyan, violet, light green, brown, light blue, grey."""
CELL, GAP, CAPTION = 15, 12, 16
"""Pixels: a cell with its line, between grids, for a line of text."""
SHOWN = 128
"""Quizzes of a sheet."""
COLUMNS = 4
LABELS = {"validated": "validated, of all made up", "novelty": "explained by no task of the world, of those kept"}
LARGEST = 1e9
"""That is drawn."""
RIGHT, WRONG, PLAIN = (0, 160, 0), (220, 0, 0), (0, 0, 0)


def save_sheet(path: Path, culture: Culture) -> None:
    """The first of N ≥ 1 quizzes, each as a, f(a), b ▷ f(b), with its author and who fails it."""
    panels = []
    for cells, author, votes in zip(culture.cells[:SHOWN], culture.authors, culture.votes, strict=False):
        failing = ", ".join(map(str, np.flatnonzero(votes == FAILS))) or "nobody"
        panels.append(_panel(cells, f"made up by {author}, failed by {failing}"))
    _save(path, panels, COLUMNS)


def save_steps(path: Path, made: Mapping[int, tuple[Cells, Grids]], shown: int = 6) -> None:
    """How quizzes (N, 4, H, H) of each model were made up from the grids (N, H, H) that they began with.

    That grid; what could have led to it, told backwards; the answer anew, framed green where it is the first one again.
    """
    panels = []
    for number, (cells, beginnings) in made.items():
        for quiz, first in zip(cells[:shown], beginnings, strict=False):
            same = bool((quiz[3] == first).all())
            images = [_grid(first), _arrow(), *(_grid(each) for each in quiz[:3]), _arrow()]
            images.append(_grid(quiz[3], RIGHT if same else WRONG))
            panels.append(_labelled(images, f"model {number}: first, then b, f(a), a; answered anew"))
    _save(path, panels, 2)


def save_curves(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Accuracies of each model, of the world and of held-out culture; size of the culture; share that is kept."""
    figure = Figure(figsize=(8, 9), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True)
    models = sorted({name.split("/")[0] for record in records for name in record if name.startswith("model ")})
    for index, model in enumerate(models):
        for kind, line in (("world", "-"), ("culture", ":")):
            known = _points(records, f"{model}/{kind}/accuracy")
            if known:
                above.plot(*zip(*known, strict=True), line, color=f"C{index}", marker=".", label=f"{model}, {kind}")
    above.set(ylabel="accuracy", ylim=(0, 1.02))
    if above.lines:
        above.legend(fontsize="small", ncols=2)
    if sizes := _points(records, "culture/size"):
        middle.step(*zip(*sizes, strict=True), where="post")
    middle.set(ylabel="quizzes kept")
    for name, mark in (("validated", "o-"), ("novelty", "s--")):
        points = _points(records, f"culture/{name}")
        if name == "validated":
            made = dict(_points(records, "culture/generated"))
            points = [(number, value / made[number]) for number, value in points if made.get(number)]
        if points:
            below.plot(*zip(*points, strict=True), mark, label=LABELS[name])
    below.set(xlabel="round", ylabel="share", ylim=(0, 1.02))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    if below.lines:
        below.legend(fontsize="small")
    data = BytesIO()
    figure.savefig(data, dpi=90)
    write_durably(path, data.getvalue())


def _points(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Rounds and values of what can be drawn."""
    found = ((record["iteration"], record.get(name)) for record in records)
    return [(number, value) for number, value in found if value is not None and abs(value) < LARGEST]


def _panel(cells: Cells, caption: str) -> Image.Image:
    """Of one quiz (4, H, H)."""
    a, fa, b, fb = (_grid(each) for each in cells)
    return _labelled([a, fa, b, _arrow(), fb], caption)


def _grid(cells: Grid, frame: tuple[int, int, int] = PLAIN) -> Image.Image:
    """Cells with lines around them, in a frame."""
    pixels = np.array(COLOURS, np.uint8)[cells].repeat(CELL, axis=0).repeat(CELL, axis=1)
    pixels = np.pad(pixels, ((0, 1), (0, 1), (0, 0)))
    pixels[::CELL] = pixels[:, ::CELL] = 0
    framed = np.empty((pixels.shape[0] + 4, pixels.shape[1] + 4, 3), np.uint8)
    framed[:] = frame
    framed[2:-2, 2:-2] = pixels
    return Image.fromarray(framed)


def _arrow() -> Image.Image:
    image = Image.new("RGB", (CELL, CELL), "white")
    ImageDraw.Draw(image).polygon([(2, 1), (CELL - 3, CELL // 2), (2, CELL - 2)], fill=PLAIN)
    return image


def _labelled(images: Sequence[Image.Image], caption: str) -> Image.Image:
    """In a row, with a line of text below."""
    width, height = sum(each.width + GAP for each in images), max(each.height for each in images)
    draw = ImageDraw.Draw(row := Image.new("RGB", (max(width, int(7 * len(caption))), height + CAPTION + GAP), "white"))
    x = 0
    for image in images:
        row.paste(image, (x, (height - image.height) // 2))
        x += image.width + GAP
    draw.text((0, height + 1), caption, fill=PLAIN)
    return row


def _save(path: Path, panels: Sequence[Image.Image], columns: int) -> None:
    """All of one size, in rows."""
    width, height = max(each.width for each in panels) + GAP, max(each.height for each in panels)
    columns = min(columns, len(panels))
    sheet = Image.new("RGB", (columns * width + GAP, -(-len(panels) // columns) * height + GAP), "white")
    for index, panel in enumerate(panels):
        sheet.paste(panel, (GAP + index % columns * width, GAP + index // columns * height))
    data = BytesIO()
    sheet.save(data, "PNG")
    write_durably(path, data.getvalue())
