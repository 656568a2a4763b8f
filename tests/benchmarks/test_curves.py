"""When a run counts as having learnt."""

import subprocess
import sys

import pytest

from benchmarks.curves import SCORE, ended_within, learnt_in


def found(*scores: float | None) -> list[dict[str, float]]:
    """Records of iterations 1, 2, …; None is one without an evaluation."""
    return [{"iteration": i, **({} if s is None else {SCORE: s})} for i, s in enumerate(scores, start=1)]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((), None),
        ((1.0, 1.0), None),
        ((1.0, 0.95, 0.97), 3),
        ((1.0, 1.0, 0.9, 1.0, 1.0), None),
        ((0.0, 1.0, None, 1.0, 1.0, 0.0), 5),
    ],
)
def test_a_run_has_learnt_with_the_last_of_enough_good_evaluations_in_a_row(
    scores: tuple[float | None, ...], expected: int | None
):
    assert learnt_in(found(*scores), threshold=0.95, held=3) == expected


def test_waiting_for_a_run_has_an_end_and_sees_the_runs():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert not ended_within(process, 0.01)
        process.communicate(b"\n")
        assert ended_within(process, 60)
