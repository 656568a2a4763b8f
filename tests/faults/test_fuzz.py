"""What hostile files and command lines come to: a few of those that `make fuzz` tries by the thousand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults.fuzz import Outcome, complaint
from tests.pipeline.test_end_to_end import ENVIRONMENT, ROOT

CASES = 10
LINE = "error: found this, expected that\n"


def test_some_attacks_find_nothing():
    """In a process of its own: the attacker forks, which a process with many threads should not."""
    line = [sys.executable, "-m", "tests.faults.fuzz", "--minutes", "60", "--cases", str(CASES), "--seed", "0"]
    done = subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{CASES} cases, 0 findings" in done.stdout


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(None, "", ""), "it hangs"),
        (Outcome(1, "", "Traceback (most recent call last):\n  x\nValueError: y\n"), "traceback"),
        (Outcome(0, "Traceback (most recent call last):\n", ""), "traceback"),
        (Outcome(3, "", LINE), "exit code 3"),
        (Outcome(-9, "", ""), "exit code -9"),
        (Outcome(2, "", LINE + "and that\n"), "exit code 2 and 2 lines of error"),
        (Outcome(2, "", ""), "exit code 2 without a line"),
        (Outcome(2, "", "found this\n"), "exit code 2 without a line"),
        (Outcome(0, "fine\n", "a warning\n"), "exit code 0 and 1 lines of error"),
        (Outcome(2, "", "error: " + "x" * 2000 + "\n"), "a line of 2007 characters"),
    ],
)
def test_what_no_command_may_do_is_a_finding(outcome: Outcome, words: str):
    assert complaint(outcome).startswith(words)


FINE = [
    Outcome(0, "fine\n", ""),
    Outcome(2, "", LINE),
    Outcome(1, "DAMAGED x\n", ""),
]


@pytest.mark.parametrize("outcome", FINE)
def test_what_a_command_may_do_is_none(outcome: Outcome):
    assert not complaint(outcome)
