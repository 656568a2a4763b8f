"""What experience takes of memory, worked out by hand and compared with what a dataset has allocated."""

import gc

import numpy as np
import torch
from torch import Tensor

from learners.config import DatasetConfig, LearnerConfig
from learners.footprint import VERSION_BYTES, column_bytes, peak_bytes
from learners.learner import Learner
from learners.nn.precision import autocast
from tests.learners.fakes import TINY_AGENT, make_chunk

CPU = torch.device("cpu")
FRAMES = [12_288, 8, 4, 1]


def test_rows_are_a_power_of_two_with_one_for_padding_and_the_largest_column_is_there_twice_while_it_doubles():
    assert peak_bytes(3000, FRAMES) == 4096 * 12_301 + 2048 * 12_288
    assert peak_bytes(3000, [*FRAMES, 49_160]) == 4096 * 61_461 + 2048 * 49_160
    rows = [peak_bytes(steps, [2]) // 3 for steps in (0, 1023, 1024, 2047, 2048)]
    assert rows == [1024, 1024, 2048, 2048, 4096]


def test_columns_are_those_that_are_read_and_what_they_are_derived_from():
    algorithm = TINY_AGENT.build()
    tokens, reconstructions = 4 * 8 + VERSION_BYTES, 12_288 * 4 + VERSION_BYTES
    assert column_bytes(algorithm, ["frames"], CPU) == FRAMES
    assert column_bytes(algorithm, ["tokens"], CPU) == [*FRAMES, tokens]
    assert sorted(column_bytes(algorithm, ["reconstructions"], CPU)) == sorted([*FRAMES, tokens, reconstructions])
    with autocast(CPU, "bfloat16"):
        assert max(column_bytes(algorithm, ["reconstructions"], CPU)) == 12_288 * 2 + VERSION_BYTES


def test_a_dataset_has_allocated_what_is_said_of_it():
    learner = Learner(TINY_AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    before = _allocated()
    for start in range(0, 1200, 200):
        learner.extend([make_chunk([200], start=start, first_episode=start, iteration=1 + start)])
    learner.dataset.gather(np.array([[1]]), ["tokens", "reconstructions"])
    columns = column_bytes(learner.algorithm, learner.algorithm.derived, CPU)
    on_device = sum(columns) - 2 * VERSION_BYTES
    assert abs(_allocated() - before - 2048 * on_device) < on_device


def _allocated() -> int:
    """Bytes of all tensors there are."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) is Tensor]
    return sum({each.data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())
