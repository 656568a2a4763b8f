"""Legend: 5 buckets lie at −20, −10, 0, 10, 20 in symlog space."""

import math

import pytest
import torch

from learners.nn.two_hot import symexp, symlog, two_hot, two_hot_cross_entropy, two_hot_mean


def test_symlog_by_hand_and_back():
    x = torch.tensor([-(math.e - 1.0), 0.0, 1.0, math.e**3 - 1.0])
    torch.testing.assert_close(symlog(x), torch.tensor([-1.0, 0.0, math.log(2.0), 3.0]))
    torch.testing.assert_close(symexp(symlog(x)), x)


def test_the_weights_lie_on_the_two_buckets_around_a_value():
    at = symexp(torch.tensor([[2.5, -7.5], [10.0, 0.0]]))
    expected = [[[0, 0, 0.75, 0.25, 0], [0, 0.75, 0.25, 0, 0]], [[0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]]
    torch.testing.assert_close(two_hot(at, 5), torch.tensor(expected, dtype=torch.float32))


def test_values_beyond_the_buckets_are_at_the_last_ones():
    weights = two_hot(torch.tensor([-1e12, 1e12, 3e38]), 5)
    assert weights.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]


@pytest.mark.parametrize("buckets", [2, 5, 255])
def test_the_mean_of_a_values_weights_is_the_value(buckets: int):
    values = torch.tensor([-1234.5, -1.0, -0.01, 0.0, 0.3, 1.0, 21.0, 1e6])
    weights = two_hot(values, buckets)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(8))
    assert ((weights > 0).sum(dim=1) <= 2).all()
    torch.testing.assert_close(two_hot_mean(weights.log()), values, rtol=1e-4, atol=1e-5)


def test_equal_logits_mean_zero():
    torch.testing.assert_close(two_hot_mean(torch.zeros(3, 255)), torch.zeros(3), rtol=0.0, atol=1e-6)


def test_the_mean_is_taken_in_symlog_space():
    logits = torch.tensor([-torch.inf, -torch.inf, 0.0, 0.0, -torch.inf])  # half at 0, half at 10
    torch.testing.assert_close(two_hot_mean(logits), torch.tensor(math.e**5 - 1.0))


def test_the_cross_entropy_by_hand_and_its_gradient():
    """−¾ ln p₂ − ¼ ln p₃; its gradient is p − two-hot."""
    logits = torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0], requires_grad=True)
    value = symexp(torch.tensor(2.5))
    loss = two_hot_cross_entropy(logits, value)
    probabilities = logits.detach().softmax(0)
    torch.testing.assert_close(loss, -0.75 * probabilities[2].log() - 0.25 * probabilities[3].log())
    loss.backward()
    torch.testing.assert_close(logits.grad, probabilities - two_hot(value, 5))
