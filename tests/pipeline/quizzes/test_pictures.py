"""Pictures of quizzes show what they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learners.quizzes.culture import Culture
from learners.quizzes.validation import FAILS, UNDERSTANDS
from pipeline.quizzes.pictures import CELL, COLOURS, GAP, RIGHT, WRONG, save_curves, save_sheet, save_steps

CELLS = np.zeros((3, 4, 2, 2), np.uint8)
CELLS[0, 3, 1, 0] = 4


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def colours(path: Path) -> set[tuple[int, ...]]:
    return {tuple(map(int, each)) for each in np.unique(pixels(path).reshape(-1, 3), axis=0)}


def test_a_sheet_shows_every_cell_in_its_colour(tmp_path: Path):
    ones = np.zeros(3, np.int64)
    votes = np.array([[UNDERSTANDS, FAILS]] * 3, np.int8)
    save_sheet(tmp_path / "sheet.png", Culture(CELLS, votes, ones, ones, ones))
    found = pixels(tmp_path / "sheet.png")
    yellow = (found == COLOURS[4]).all(axis=2)
    assert yellow.sum() == (CELL - 1) ** 2
    rows, columns = np.nonzero(yellow)
    # Of the first quiz: below its first row of cells, in the first column of the last grid.
    assert rows.min() == GAP + 2 + CELL + 1
    grid = 2 * CELL + 1 + 4
    assert columns.min() == GAP + 3 * (grid + GAP) + (CELL + GAP) + 2 + 1


def test_an_answer_that_is_the_first_one_again_is_framed_green(tmp_path: Path):
    same, other = np.zeros((1, 2, 2), np.uint8), np.ones((1, 2, 2), np.uint8)
    save_steps(tmp_path / "same.png", {0: (CELLS[1:2], same)})
    save_steps(tmp_path / "other.png", {0: (CELLS[1:2], other)})
    assert RIGHT in colours(tmp_path / "same.png") - colours(tmp_path / "other.png")
    assert WRONG in colours(tmp_path / "other.png") - colours(tmp_path / "same.png")


@pytest.mark.parametrize("value", [0.5, 1e300])
def test_curves_are_drawn_of_what_there_is(tmp_path: Path, value: float):
    records = [{"iteration": 1}, {"iteration": 2, "model 0/world/accuracy": value, "culture/size": value}]
    save_curves(tmp_path / "curves.png", [])
    save_curves(tmp_path / "values.png", records)
    assert (pixels(tmp_path / "curves.png") != pixels(tmp_path / "values.png")).any() == (value < 1)
