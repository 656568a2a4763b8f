"""Linear layers with ReLU between them."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def mlp(inputs: int, hidden: int, outputs: int, *, layers: int = 2) -> nn.Sequential:
    """From (..., inputs) to (..., outputs), by so many hidden layers of `hidden` numbers each."""
    sizes = [inputs, *[hidden] * layers]
    found = [each for pair in pairwise(sizes) for each in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*found, nn.Linear(hidden, outputs))
