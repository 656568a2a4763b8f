"""The area under the curve, by hand; a model that is right is surprised by what it did not foresee."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.planning.surprise import area_under_curve, surprise


class Counter:
    """Features: the first pixel."""

    def observe(self, frames: Tensor) -> Tensor:
        return frames[:, 0, 0, :1].float()

    def foresee(self, features: Tensor, actions: Tensor) -> Tensor:
        return features + actions


def test_areas_by_hand():
    assert area_under_curve(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1.0
    assert area_under_curve(np.array([1.0, 4.0]), np.array([2.0, 3.0])) == 0.5
    assert area_under_curve(np.array([2.0]), np.array([2.0, 1.0])) == pytest.approx(0.75)


def test_an_error_is_of_the_step_that_was_not_foreseen_and_a_change_of_any():
    frames = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    frames[:, 0, 0, 0] = torch.tensor([5, 7, 7, 10], dtype=torch.uint8)
    actions = torch.tensor([[2.0], [2.0], [3.0]])
    wrong, changed = surprise(Counter(), frames, actions)  # type: ignore[arg-type]
    assert wrong.tolist() == [0.0, 4.0, 0.0]
    assert changed.tolist() == [4.0, 0.0, 9.0]
