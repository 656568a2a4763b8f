"""Terms that keep encodings apart, by hand; sums over processes are those of the joint batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learners.jepa.losses import (
    chances,
    covariance_term,
    gaussian_term,
    predictions,
    spread,
    squared_error,
    variance_term,
)


def real(rows: Tensor) -> Tensor:
    return torch.ones(len(rows), dtype=torch.bool)


def test_variance_and_covariance_of_a_case_by_hand():
    rows = torch.tensor([[0.0, 0.0], [0.4, 0.0], [0.0, 0.8], [0.4, 0.8]])  # variances 4/75, 16/75; no covariance
    expected = sum(max(0.0, 1.0 - (variance + 1e-4) ** 0.5) for variance in (4 / 75, 16 / 75)) / 2
    assert variance_term(rows, real(rows), 3.0).value.item() == pytest.approx(3.0 * expected, rel=1e-5)
    assert covariance_term(rows, real(rows), 1.0).value.item() == pytest.approx(0.0, abs=1e-9)
    together = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])  # variances 1, 4; covariance 2, both ways
    assert covariance_term(together, real(together), 0.5).value.item() == pytest.approx(0.5 * (4.0 + 4.0) / 2)
    assert variance_term(together, real(together), 1.0).value.item() == 0.0


def test_shares_of_a_batch_add_up_to_the_terms_of_the_whole():
    rows = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) * 0.5
    directions = torch.eye(5)
    terms = (
        lambda of: variance_term(of, real(of), 2.0),
        lambda of: covariance_term(of, real(of), 2.0),
        lambda of: gaussian_term(of, real(of), directions, 2.0),
    )
    for term in terms:
        whole, one, other = term(rows), term(rows[:5]), term(rows[5:])
        assert whole.of(one.sums + other.sums).item() == pytest.approx(whole.value.item(), rel=1e-5)
        assert abs(one.value.item() - whole.value.item()) > 1e-3


def test_rows_that_are_all_alike_have_no_spread_and_the_dearest_variance():
    alike = torch.ones(8, 4)
    assert spread(alike, real(alike)).item() == 0.0
    assert variance_term(alike, real(alike), 1.0).value.item() == pytest.approx(0.99, abs=1e-4)


def test_predictions_follow_the_actions_before_them_alone():
    def added(features: Tensor, actions: Tensor, codes: Tensor | None) -> Tensor:
        return features + (actions if codes is None else actions * codes[:, None])

    first, actions = torch.zeros(1, 1), torch.tensor([[[1.0], [2.0], [4.0], [8.0]]])
    assert predictions(added, first, actions, steps=2).tolist() == [[[1.0], [3.0]]]
    assert predictions(added, first, actions, steps=9).tolist() == [[[1.0], [3.0], [7.0]]]  # the last leads out
    codes = torch.tensor([[2, 0, 1]])
    assert predictions(added, first, actions, 9, codes).tolist() == [[[2.0], [2.0], [6.0]]]


def test_how_a_step_turned_out_is_told_from_where_it_began():
    def outcomes(features: Tensor, actions: Tensor) -> Tensor:
        return torch.stack([features, features + actions, features + 2 * actions], dim=1)

    actions = torch.ones(2, 4, 1)
    features = torch.tensor([[[0.0], [2.0], [2.1], [3.0]], [[0.0], [0.9], [2.9], [2.9]]])
    found = chances(outcomes, features, actions, features)
    assert found.codes.tolist() == [[2, 0, 1], [1, 2, 0]]
    # Of the first step: (0 − 2)², (1 − 2)², 0; and 0.9², 0.1², 1.1².
    torch.testing.assert_close(found.errors[:, 0], torch.tensor([5.0, 0.81 + 0.01 + 1.21]) / 3)
    # What is to be predicted need not be what the next step begins with.
    assert chances(outcomes, features, actions, features + 1.0).codes.tolist() == [[2, 1, 2], [2, 2, 1]]


def test_padding_is_no_error():
    found, expected = torch.tensor([[[1.0, 1.0], [5.0, 5.0]]]), torch.zeros(1, 2, 2)
    assert squared_error(found, expected, torch.tensor([[True, False]])).value.item() == 1.0


def test_padded_rows_count_in_no_statistic():
    rows = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    padded, mask = torch.cat([rows, 100.0 * torch.ones(4, 3)]), torch.arange(13) < 9
    for term in (variance_term, covariance_term):
        assert term(padded, mask, 1.0).value.item() == pytest.approx(term(rows, real(rows), 1.0).value.item(), rel=1e-5)
    of_rows = gaussian_term(rows, real(rows), torch.eye(3), 1.0).value.item()
    assert gaussian_term(padded, mask, torch.eye(3), 1.0).value.item() == pytest.approx(of_rows, rel=1e-5)
    assert spread(padded, mask).item() == pytest.approx(rows.std(dim=0, correction=0).mean().item(), rel=1e-4)


def test_a_gaussian_costs_as_much_however_many_and_anything_else_far_more():
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 8, generator=generator), dim=1)

    def cost(rows: Tensor) -> float:
        return gaussian_term(rows, real(rows), directions, 1.0).value.item()

    few, many = (cost(torch.randn(count, 8, generator=generator)) for count in (200, 4000))
    # N · E|φ̂ − φ|² = 1 − φ², so ∫ (1 − e^{−t²}) e^{−t²/2} dt over (−3, 3).
    points = torch.linspace(-3.0, 3.0, 2001)
    window = (-0.5 * points.square()).exp()
    expected = torch.trapezoid((1.0 - window.square()) * window, points).item()
    assert few == pytest.approx(expected, rel=0.35)
    assert many == pytest.approx(expected, rel=0.35)
    for other in (torch.zeros(200, 8), 3.0 * torch.randn(200, 8, generator=generator), torch.rand(200, 8) * 2 - 1):
        assert cost(other) > 5 * expected
