"""What a person sees of a run: a few plain lines in a file, a bar on a terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest

from pipeline.progress import PLAIN_INTERVAL_S, Reporter


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_off_a_terminal_lines_are_plain(capsys: pytest.CaptureFixture[str]):
    reporter = Reporter(3)
    text = "iteration 1/3 | [red]no markup[/red] | score 0.50 ± 0.10 | " + "long " * 60
    reporter.line(text)
    reporter.close()
    assert capsys.readouterr().out == f"{text}\n"


def test_off_a_terminal_a_phase_is_shown_every_few_seconds_at_most(clock: Clock, capsys: pytest.CaptureFixture[str]):
    reporter = Reporter(600)
    for second in range(13):
        clock.now = 1000.0 + second
        reporter.phase(2, "tokenizer", second, 200)
    reporter.close()
    assert PLAIN_INTERVAL_S == 5.0
    assert capsys.readouterr().out == "iteration 2/600 tokenizer 6/200\niteration 2/600 tokenizer 12/200\n"


def test_a_phase_is_silent_right_after_a_line(clock: Clock, capsys: pytest.CaptureFixture[str]):
    reporter = Reporter(600)
    clock.now += 100.0
    reporter.line("iteration 1/600 | 200 steps")
    clock.now += PLAIN_INTERVAL_S
    reporter.phase(2, "collect", 0, 200)
    clock.now += 0.1
    reporter.phase(2, "collect", 100, 200)
    reporter.close()
    assert capsys.readouterr().out == "iteration 1/600 | 200 steps\niteration 2/600 collect 100/200\n"


def test_on_a_terminal_a_bar_shows_the_phase_and_lines_stay_above_it(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    reporter = Reporter(600)
    reporter.phase(2, "tokenizer", 50, 200)
    reporter.line("iteration 1/600 | 200 steps")
    reporter.close()
    shown = terminal.getvalue()
    assert "iteration 2/600 tokenizer" in shown
    assert "50/200" in shown
    assert shown.index("iteration 1/600 | 200 steps") < shown.rindex("iteration 2/600 tokenizer")
