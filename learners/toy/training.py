"""Training of the small networks, and what their attention looks at.

Legend: N sequences, L samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.streams import Streams
from learners.toy.config import SequencesConfig, ToyNetworkConfig, ToyTrainingConfig
from learners.toy.networks import ToyNetwork
from learners.toy.sequences import Sequences, make_sequences, outlines


class DivergedError(ValueError):
    """A loss is not finite."""


@dataclass(frozen=True)
class Trained:
    network: ToyNetwork
    test: Sequences
    losses: list[float]
    """Mean squared error of each epoch's batches, while they were trained on."""
    errors: list[float]
    """Mean squared error to the test targets after each epoch."""
    clean_error: float
    """To the test targets without their noise, at the end."""

    def measured(self) -> dict[str, Any]:
        """All that is to be told, as numbers; attention is looked at over the test sequences."""
        mass = None
        if self.network.attention:
            with torch.no_grad():
                mass = same_pair_mass(self.network.attends(torch.from_numpy(self.test.inputs)), self.test)
        return {
            "parameters": sum(each.numel() for each in self.network.parameters()),
            "test_error": self.errors[-1],
            "clean_error": self.clean_error,
            "same_pair_mass": mass,
            "test_errors": self.errors,
            "losses": self.losses,
        }


def train(
    sequences: SequencesConfig,
    network: ToyNetworkConfig,
    training: ToyTrainingConfig,
    seed: int,
    progress: Callable[[int, float], None] = lambda epoch, error: None,
) -> Trained:
    """Adam on the mean squared error. The same seed gives the same sequences to every network.

    Args:
        progress: called after each epoch with its number, from 1 on, and the test error.

    Raises: DivergedError, in one line, if a loss is not finite; TooRareError.
    """
    streams = Streams(seed)
    known = make_sequences(sequences, training.sequences, streams.numpy("toy/training"))
    test = make_sequences(sequences, training.test_sequences, streams.numpy("toy/test"))
    inputs, targets = torch.from_numpy(known.inputs), torch.from_numpy(known.targets)
    with torch.random.fork_rng():
        torch.manual_seed(streams.key("toy/network"))
        made = ToyNetwork(network, sequences.position_bits, float(inputs.mean()), float(inputs.std()))
    optimizer = torch.optim.Adam(made.parameters(), lr=training.learning_rate)
    losses, errors = [], []
    for epoch in range(1, training.epochs + 1):
        order = np.arange(len(inputs))
        if training.shuffle:
            order = streams.numpy("toy/order", epoch).permutation(order)
        sums = 0.0
        for rows in torch.from_numpy(order).split(training.batch_size):
            loss = (made(inputs[rows]) - targets[rows]).square().mean()
            if not bool(loss.isfinite()):
                raise DivergedError(
                    f"loss is {float(loss.detach())} in epoch {epoch}, expected a finite one: a lower rate"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums += float(loss.detach()) * len(rows)
        losses.append(sums / len(inputs))
        errors.append(error(made, test.inputs, test.targets))
        progress(epoch, errors[-1])
    return Trained(made, test, losses, errors, error(made, test.inputs, test.clean))


@torch.no_grad()
def error(network: ToyNetwork, inputs: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """Mean squared error over all samples of inputs and targets (N, 1, L)."""
    found = torch.cat([network(batch) for batch in torch.from_numpy(inputs).split(100)])
    return float((found - torch.from_numpy(targets)).square().mean())


def same_pair_mass(weights: Tensor, sequences: Sequences) -> float:
    """Of what samples inside a shape read from inside any shape, the share from shapes of their own pair.

    Mean over these samples; chance is about a half. Weights (N, L, L), of these N sequences.
    """
    covered = torch.from_numpy(outlines(sequences.shapes, weights.shape[-1]) > 0).float()  # (N, 4, L)
    pairs = torch.tensor(sequences.pairs)
    of_pair = torch.stack([(covered * (pairs == pair)[..., None]).sum(dim=1) for pair in (0, 1)], dim=1)  # (N, 2, L)
    read = weights @ of_pair.transpose(1, 2)  # (N, L, 2)
    shares = read / read.sum(dim=2, keepdim=True).clamp(min=1e-12)
    inside = of_pair.transpose(1, 2)  # (N, L, 2)
    return float((shares * inside).sum() / inside.sum())
