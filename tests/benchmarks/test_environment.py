"""Random play."""

from __future__ import annotations

from benchmarks.environment import measure
from benchmarks.synthetic_environment import SyntheticConfig


def test_play_goes_on_over_the_ends_of_episodes_and_its_rate_is_the_median():
    found = measure(SyntheticConfig().build(seed=0), steps=150, repeats=3)
    assert 0 < found["slowest"] <= found["steps_per_second"] <= found["fastest"]
