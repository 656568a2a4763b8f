"""Terms that keep encodings apart, by hand; sums over processes are those of the joint batch."""

from __future__ import annotations

import pytest
import torch

from learners.jepa.losses import covariance_term, predictions, spread, squared_error, variance_term


def test_variance_and_covariance_of_a_case_by_hand():
    rows = torch.tensor([[0.0, 0.0], [0.4, 0.0], [0.0, 0.8], [0.4, 0.8]])  # variances 4/75, 16/75; no covariance
    expected = sum(max(0.0, 1.0 - (variance + 1e-4) ** 0.5) for variance in (4 / 75, 16 / 75)) / 2
    assert variance_term(rows, 3.0).value.item() == pytest.approx(3.0 * expected, rel=1e-5)
    assert covariance_term(rows, 1.0).value.item() == pytest.approx(0.0, abs=1e-9)
    together = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])  # variances 1, 4; covariance 2, both ways
    assert covariance_term(together, 0.5).value.item() == pytest.approx(0.5 * (4.0 + 4.0) / 2)
    assert variance_term(together, 1.0).value.item() == 0.0


def test_shares_of_a_batch_add_up_to_the_terms_of_the_whole():
    rows = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) * 0.5
    for term in (variance_term, covariance_term):
        whole, one, other = term(rows, 2.0), term(rows[:5], 2.0), term(rows[5:], 2.0)
        assert whole.of(one.sums + other.sums).item() == pytest.approx(whole.value.item(), rel=1e-5)
        assert abs(one.value.item() - whole.value.item()) > 1e-3


def test_rows_that_are_all_alike_have_no_spread_and_the_dearest_variance():
    alike = torch.ones(8, 4)
    assert spread(alike).item() == 0.0
    assert variance_term(alike, 1.0).value.item() == pytest.approx(0.99, abs=1e-4)


def test_predictions_follow_the_actions_before_them_alone():
    first, actions = torch.zeros(1, 1), torch.tensor([[[1.0], [2.0], [4.0], [8.0]]])
    assert predictions(torch.add, first, actions, steps=2).tolist() == [[[1.0], [3.0]]]
    assert predictions(torch.add, first, actions, steps=9).tolist() == [[[1.0], [3.0], [7.0]]]  # the last leads out


def test_padding_is_no_error():
    found, expected = torch.tensor([[[1.0, 1.0], [5.0, 5.0]]]), torch.zeros(1, 2, 2)
    assert squared_error(found, expected, torch.tensor([[True, False]])).value.item() == 1.0
