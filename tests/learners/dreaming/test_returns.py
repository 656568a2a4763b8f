"""λ-returns, worked by hand: γ = 0.5, rewards 1, 2, 3, values 10, 20, 30, 40."""

import pytest
import torch

from learners.dreaming.returns import lambda_returns

REWARDS = torch.tensor([[1.0, 2.0, 3.0]])
VALUES = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
ALIVE = torch.zeros(1, 3, dtype=torch.bool)


def test_lambda_zero_is_one_step_td():
    returns = lambda_returns(REWARDS, ALIVE, VALUES, discount=0.5, lambda_=0.0)
    torch.testing.assert_close(returns, torch.tensor([[11.0, 17.0, 23.0]]))


def test_lambda_one_is_the_bootstrapped_discounted_sum():
    returns = lambda_returns(REWARDS, ALIVE, VALUES, discount=0.5, lambda_=1.0)
    torch.testing.assert_close(returns, torch.tensor([[7.75, 13.5, 23.0]]))


def test_half_lambda_mixes_the_value_and_the_return():
    # G2 = 3 + .5·40 = 23, G1 = 2 + .5(.5·30 + .5·23) = 15.25, G0 = 1 + .5(.5·20 + .5·15.25) = 9.8125
    returns = lambda_returns(REWARDS, ALIVE, VALUES, discount=0.5, lambda_=0.5)
    torch.testing.assert_close(returns, torch.tensor([[9.8125, 15.25, 23.0]]))


def test_nothing_after_an_end_counts():
    ends = torch.tensor([[False, True, False]])
    returns = lambda_returns(REWARDS, ends, VALUES, discount=0.5, lambda_=1.0)
    torch.testing.assert_close(returns, torch.tensor([[2.0, 2.0, 23.0]]))


def test_targets_carry_no_gradient():
    values = VALUES.clone().requires_grad_()
    assert not lambda_returns(REWARDS, ALIVE, values, discount=0.5, lambda_=0.5).requires_grad


def test_disagreeing_time_axes_are_refused():
    with pytest.raises(ValueError, match=r"expected \(B, H\), \(B, H\), \(B, H \+ 1\)"):
        lambda_returns(REWARDS, ALIVE, VALUES[:, :-1], discount=0.5, lambda_=0.5)
