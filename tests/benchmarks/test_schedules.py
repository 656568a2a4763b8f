"""The simulated speed of schedules, where it can be told by hand."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.schedules import ITERATIONS, simulate, with_ranks

PHASES = {"collect": 2.0, "tokenizer": 3.0, "world_model": 4.0, "actor_critic": 5.0}


def test_one_after_another_takes_the_sum():
    assert simulate(PHASES, split=False, at_once=1) == pytest.approx(14.0)
    assert simulate(PHASES, split=True, at_once=1) == pytest.approx(14.0)


def test_one_learner_that_never_waits_takes_what_it_learns():
    assert simulate(PHASES, split=False, at_once=2) == pytest.approx(12.0 + 2.0 / ITERATIONS)


def test_two_iterations_in_flight_halve_the_time_where_no_phase_is_longer_than_that():
    assert simulate(PHASES, split=True, at_once=2) == pytest.approx(7.0, rel=0.02)
    longest = {**PHASES, "actor_critic": 20.0}
    assert simulate(longest, split=True, at_once=2) == pytest.approx(20.0, rel=0.02)


def test_ranks_divide_what_is_learnt_and_add_what_they_tell_each_other():
    flags = argparse.Namespace(bandwidth=10.0, megabytes=(10.0, 20.0, 40.0), steps=100)
    one, four = with_ranks(PHASES, flags, 1), with_ranks(PHASES, flags, 4)
    assert one == PHASES
    # 100 steps × 1.5 × 10 MB at 10 GB/s
    assert four == pytest.approx({"collect": 2.0, "tokenizer": 0.75 + 0.15, "world_model": 1.3, "actor_critic": 1.85})
