"""The page in a real browser, at the width of a desk and of a phone, and in print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.report.__main__ import main
from pipeline.scores.published import load
from tests.browser import Browser
from tests.pipeline.scores.runs import write_csv, write_run

FITS = "document.documentElement.scrollWidth <= innerWidth"
"""Nothing sticks out: who reads on a phone scrolls down only (a table within itself)."""
PICTURES = "[...document.images].map(each => [each.alt, each.complete && each.naturalWidth, each.clientWidth])"
BOLD = "[...document.querySelectorAll('td b')].map(each => each.textContent)"
SMALLEST = """Math.min(...[...document.querySelectorAll('p, td, th, li, dd, figcaption')].map(
    each => parseFloat(getComputedStyle(each).fontSize)))"""
STICKS = """(() => {
    const scroll = document.querySelector('.scroll'), label = scroll.querySelector('tbody th');
    scroll.scrollLeft = 200;
    return [scroll.scrollLeft, label.getBoundingClientRect().left - scroll.getBoundingClientRect().left];
})()"""
TABLE = "[document.querySelector('table').getBoundingClientRect().right, innerWidth]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every figure there is, and with a name that is too long."""
    directory = tmp_path_factory.mktemp("report")
    evaluations = [{"iteration": i, "steps": 20 * i, "evaluation/score_mean": 1.0 * i} for i in (1, 2)]
    for seed in range(2):
        for game in ("Pong", "Krull"):
            write_run(directory / "runs", game, seed, 10.0 + seed, metrics=evaluations)
    write_run(directory / "runs", "crafter", 0, 2.1, preset="builder", success_rates={"collect_coal": 50.0})
    name = "an-agent-whose-name-nobody-would-want-to-have-to-read-aloud" * 2
    lines = [f"{name},{game},{seed},{score + seed}" for game, score in load().scores["iris"].items() for seed in (0, 1)]
    others = write_csv(directory / "others.csv", *lines)
    assert main([str(directory / "runs"), "--out", str(directory / "out"), "--scores", str(others)]) == 0
    return directory / "out" / "report.html"


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_the_page_can_be_read_at_any_width(browser: Browser, page: Path, width: int, height: int):
    seen = browser.look_at(page, width, height, "innerWidth", FITS, PICTURES, SMALLEST, STICKS)
    inner, fits, pictures, smallest, (scrolled, offset) = seen.values
    assert (inner, fits) == (width, True)
    assert len(pictures) == 7
    for alt, natural, shown in pictures:
        assert alt
        assert shown >= 0.8 * natural > 300  # letters of 8.5 points are then at least 9 pixels high
    assert smallest >= 12
    assert abs(offset) < 1  # the game's name stays where it is while its scores pass by
    assert scrolled > 0 or width > 600


def test_the_page_asks_for_nothing_and_does_not_complain(browser: Browser, page: Path):
    seen = browser.look_at(page, 1280, 800)
    assert [url for url in seen.requests if not url.startswith("data:")] == [page.as_uri()]
    assert seen.complaints == []
    assert seen.screenshot.startswith(b"\x89PNG")


def test_the_best_of_a_game_is_bold(browser: Browser, page: Path):
    (bold,) = browser.look_at(page, 1280, 800, BOLD).values
    published = load().scores
    assert len(bold) >= 26
    assert f"{max(each['Asterix'] for each in published.values()):.1f}" in bold


def test_the_whole_table_is_on_the_paper(browser: Browser, page: Path):
    """A4, less its margins, is 718 CSS pixels wide."""
    ((right, width),) = browser.look_at(page, 718, 1000, TABLE, media="print").values
    assert right <= width
