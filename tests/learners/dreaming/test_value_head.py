import math

import torch

from learners.dreaming.value_head import ScalarValue, TwoHotValue


def test_a_number_is_its_own_value_and_costs_its_squared_error():
    head = ScalarValue(2)
    outputs = head(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]))
    assert outputs.shape == (2, 1)
    assert head.mean(outputs) is outputs
    assert head.loss(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])).tolist() == [9.0, 0.0]
    assert list(head.state_dict()) == ["weight", "bias"]


def test_a_distribution_has_a_mean_and_costs_its_cross_entropy():
    """Buckets −20, 0 and 20; 10 in symlog space lies between the last two."""
    head = TwoHotValue(2, 3)
    assert head(torch.zeros(2, 5, 2)).shape == (2, 5, 3)
    logits = torch.tensor([0.25, 0.25, 0.5]).log()  # their mean in symlog space is 5
    torch.testing.assert_close(head.mean(logits), torch.tensor(math.e**5 - 1.0))
    torch.testing.assert_close(
        head.loss(logits, torch.tensor(math.e**10 - 1.0)), torch.tensor(-0.5 * math.log(0.25) - 0.5 * math.log(0.5))
    )
    assert list(head.state_dict()) == ["weight", "bias"]
