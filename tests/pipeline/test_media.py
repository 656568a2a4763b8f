"""Pictures show what they say, in the order they say."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from numpy.typing import NDArray

from learners.dreaming.calibration import Calibration
from learners.dreaming.dream_error import DreamError
from learners.inspection import Chart, Film, Grid, Inspection, Panel, Picture
from pipeline.media import ENLARGE, GAP, save_curves, save_episode, save_inspection

CELL = 64 * ENLARGE + GAP
"""Screen pixels from one frame to the next."""


def frames(count: int, seed: int) -> NDArray[np.uint8]:
    """(count, 3, 64, 64), no two alike."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 64, 64), np.uint8)


@pytest.fixture
def grid() -> Grid:
    return Grid([frames(8, 1), frames(8, 2)])


def save_picture(directory: Path, iteration: int, name: str, picture: Picture) -> None:
    save_inspection(directory, iteration, Inspection({}, {name: picture}))


def cells(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(rows, columns, 3, 64, 64): the frames that a picture (H, W, 3) shows, at their own size."""
    rows, columns = image.shape[0] // CELL, image.shape[1] // CELL
    shown = image.reshape(rows, CELL, columns, CELL, 3).transpose(0, 2, 4, 1, 3)
    gaps = np.concatenate([shown[..., -GAP:, :].ravel(), shown[..., -GAP:].ravel()])
    assert (gaps == 255).all()
    return shown[..., :-GAP:ENLARGE, :-GAP:ENLARGE]


def test_the_rows_of_a_grid_are_below_each_other(tmp_path: Path, grid: Grid):
    save_picture(tmp_path, 7, "observations", grid)
    image = imageio.imread(tmp_path / "observations-0007.png")
    assert image.shape == (2 * CELL, 8 * CELL, 3)
    np.testing.assert_array_equal(cells(image)[0], grid.rows[0])
    np.testing.assert_array_equal(cells(image)[1], grid.rows[1])


def test_a_film_is_a_picture_in_rows_too(tmp_path: Path):
    real, imagined = frames(5, 3), frames(5, 4)
    save_picture(tmp_path, 7, "imagination", Film([real, imagined]))
    image = imageio.imread(tmp_path / "imagination-0007.png")
    assert image.shape == (2 * CELL, 5 * CELL, 3)
    np.testing.assert_array_equal(cells(image)[0], real)
    np.testing.assert_array_equal(cells(image)[1], imagined)


def test_every_pixel_of_a_frame_becomes_a_square(tmp_path: Path, grid: Grid):
    save_picture(tmp_path, 7, "observations", grid)
    image = imageio.imread(tmp_path / "observations-0007.png")
    for dy in range(ENLARGE):
        for dx in range(ENLARGE):
            frame = image[dy : 64 * ENLARGE : ENLARGE, dx : 64 * ENLARGE : ENLARGE]
            np.testing.assert_array_equal(frame.transpose(2, 0, 1), grid.rows[0][0])


def test_the_first_column_of_a_film_is_on_the_left(tmp_path: Path):
    dark, bright = np.full((4, 3, 64, 64), 10, np.uint8), np.full((4, 3, 64, 64), 240, np.uint8)
    for t in range(4):
        dark[t, :, :, t] = bright[t, :, t, :] = 128  # no two frames alike: a gif joins those that are
    save_picture(tmp_path, 12, "imagination", Film([dark, bright]))
    movie = imageio.imread(tmp_path / "imagination-0012.gif", index=None)
    assert movie.shape == (4, CELL, 2 * CELL, 3)
    for image in movie:
        left, right = image[:, :CELL], image[:, CELL:]
        assert np.median(left) < 20 < 230 < np.median(right)


def test_a_chart_has_its_curves_and_points_in_their_panels(tmp_path: Path):
    dreams = DreamError(np.linspace(0, 0.2, 21), np.linspace(0, 0.3, 21), np.full(21, 4)).panel()
    calibration = Calibration(np.linspace(-1, 1, 30), np.linspace(-1, 0.5, 30)).panel()
    empty = Panel("", "", "")
    drawn = []
    for iteration, panels in enumerate([(empty, empty), (dreams, empty), (dreams, calibration)]):
        save_picture(tmp_path, iteration, "measurements", Chart(panels))
        image = imageio.imread(tmp_path / f"measurements-000{iteration}.png")[100:, ..., :3].astype(int)  # no legend
        coloured = np.ptp(image, axis=2).max(axis=0) > 50  # axes and words are grey
        middle = len(coloured) // 2
        drawn.append((coloured[:middle].any(), coloured[middle:].any()))
    assert drawn == [(False, False), (True, False), (True, True)]


def test_the_gif_of_an_episode_has_a_frame_per_step_in_their_order(tmp_path: Path):
    brightness = np.arange(0, 250, 25, dtype=np.uint8)
    episode = np.broadcast_to(brightness[:, None, None, None], (10, 3, 64, 64))
    save_episode(tmp_path, 600, episode)
    movie = imageio.imread(tmp_path / "episode-0600.gif", index=None)
    assert movie.shape == (10, CELL, CELL, 3)
    np.testing.assert_array_equal(movie[:, 0, 0, 0], brightness)


def test_an_episode_of_one_frame_is_a_gif_too(tmp_path: Path):
    save_episode(tmp_path, 1, frames(1, 5))
    assert imageio.imread(tmp_path / "episode-0001.gif", index=None).shape == (1, CELL, CELL, 3)


@pytest.mark.parametrize(
    "records",
    [
        [{"iteration": 1, "steps": 20}],
        [
            {"iteration": 1, "tokenizer/loss": 2.0},
            {"iteration": 2, "tokenizer/loss": 1.0, "collection/return_mean": 0.5},
        ],
    ],
)
def test_curves_have_a_panel_per_part_and_one_for_returns(tmp_path: Path, records: list[dict[str, float]]):
    widths = []
    for count, parts in enumerate((["tokenizer"], ["tokenizer", "world_model", "actor_critic"])):
        save_curves(tmp_path / f"{count}.png", records, parts)
        widths.append(imageio.imread(tmp_path / f"{count}.png").shape[1] / (len(parts) + 1))
    assert widths[0] == widths[1]
