"""Ratios to the published code's times."""

from __future__ import annotations

import pytest

from benchmarks.ceiling import Ceiling
from benchmarks.published import compare
from tests.benchmarks.workloads import parse_workload

CEILINGS = {"float32": Ceiling(matrix_product=300e9, convolution=275e9), "bfloat16": Ceiling(1e12, 1e12)}


def test_half_the_seconds_on_a_machine_with_half_the_ceiling_is_twice_and_four_times_as_fast():
    assert compare("imagination", 2.8, 8, parse_workload("--preset iris-atari100k"), CEILINGS) == {
        "published": {"seconds": 5.6, "convolution_gflops": 550.0},
        "speedup": {"raw": pytest.approx(2.0), "at_equal_float32_ceilings": pytest.approx(4.0)},
    }


def test_a_tokenizer_is_compared_with_the_published_one_that_has_the_same_loss():
    seconds = {}
    for perceptual in ("vgg16", "none"):
        workload = parse_workload(f"--preset iris-atari100k --perceptual {perceptual}")
        seconds[perceptual] = compare("tokenizer", 1.0, 32, workload, CEILINGS)["published"]["seconds"]
    assert seconds == {"vgg16": 2.22, "none": 1.34}


@pytest.mark.parametrize(("batch_size", "preset"), [(16, "iris-atari100k"), (8, "atari-demo")])
def test_another_batch_size_or_other_networks_are_not_compared(batch_size: int, preset: str):
    assert compare("actor_critic", 1.0, batch_size, parse_workload(f"--preset {preset}"), CEILINGS) == {}
