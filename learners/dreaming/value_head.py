"""How a network says what a state is worth: as a number, or as a distribution over buckets.

Legend: S features of the state, V what the head puts out.
"""

from __future__ import annotations

from torch import Tensor, nn

from learners.nn.two_hot import two_hot_cross_entropy, two_hot_mean


class ScalarValue(nn.Linear):
    """Features (..., S) -> values (...)."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 1)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).squeeze(-1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Values (...) of what the head put out."""
        return outputs

    def loss(self, outputs: Tensor, returns: Tensor) -> Tensor:
        """(V − G)², (...), of outputs and returns (...)."""
        return (outputs - returns).square()


class TwoHotValue(nn.Linear):
    """Features (..., S) -> logits (..., buckets) in symlog space (`learners/nn/two_hot.py`)."""

    def __init__(self, size: int, buckets: int) -> None:
        super().__init__(size, buckets)

    def mean(self, outputs: Tensor) -> Tensor:
        return two_hot_mean(outputs)

    def loss(self, outputs: Tensor, returns: Tensor) -> Tensor:
        """Cross-entropy to two-hot(G), (...)."""
        return two_hot_cross_entropy(outputs, returns)


ValueHead = ScalarValue | TwoHotValue
