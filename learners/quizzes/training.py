"""An epoch of a quiz model, and how many quizzes it solves.

Legend: N quizzes, L tokens of a sequence, H cells per side.
Source: Fleuret, culture.git: cross-entropy over all tokens, half of the sequences in each direction, an optimiser made
anew for each epoch.
"""

from __future__ import annotations

from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from learners.quizzes.config import QuizTrainingConfig, WorldConfig
from learners.quizzes.network import QuizGPT
from learners.quizzes.sequences import BACKWARD, FORWARD, Order
from learners.quizzes.tasks import Grids, Quizzes, make
from learners.streams import Streams

SOLVED_AT_ONCE = 500


class DivergedError(ValueError):
    """A loss is not finite."""


def make_world(config: WorldConfig, count: int, generator: np.random.Generator) -> tuple[Quizzes, NDArray[np.int64]]:
    """N = `count` quizzes, as many of each task as of any other or one more, shuffled, and the number of each's task.

    Raises: NoRoomError.
    """
    numbers = [count // len(config.tasks) + (place < count % len(config.tasks)) for place in range(len(config.tasks))]
    made = [make(config, task, number, generator) for task, number in zip(config.tasks, numbers, strict=True)]
    order = generator.permutation(count)
    return joined(made, order), np.repeat(np.arange(len(numbers)), numbers)[order]


def joined(parts: list[Quizzes], order: NDArray[np.int64] | None = None) -> Quizzes:
    """One after another, in their order or another."""
    whole = Quizzes(*(np.concatenate(grids) for grids in zip(*parts, strict=True)))
    return whole if order is None else Quizzes(*(grids[order] for grids in whole))


class Epoch:
    """All quizzes once, every second one backward, by an optimiser of its own. Its result does not depend on how its
    steps are sliced."""

    def __init__(
        self, network: QuizGPT, config: QuizTrainingConfig, quizzes: Quizzes, streams: Streams, *indices: int
    ) -> None:
        """`indices` are of the streams, such as round and model."""
        generator = streams.numpy("quizzes/order", *indices)
        order = generator.permutation(len(quizzes.a))
        halves = (FORWARD, order[::2]), (BACKWARD, order[1::2])
        encode = network.layout.encode
        tokens = np.concatenate([encode(Quizzes(*(each[rows] for each in quizzes)), way) for way, rows in halves])
        self._tokens = torch.from_numpy(tokens[generator.permutation(len(tokens))])
        self._batches = self._tokens.split(config.batch_size)
        self._network, self._config = network, config
        self._streams, self._indices = streams, indices
        self._device = network.readout.weight.device
        self._optimizer = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self._total = torch.zeros((), device=self._device)
        self._done = 0

    @property
    def steps(self) -> int:
        return len(self._batches)

    def run(self, steps: int) -> None:
        """The next ones, as many as are left of it."""
        self._network.train()
        for step in range(self._done, min(self._done + steps, self.steps)):
            for group in self._optimizer.param_groups:
                group["lr"] = rate(self._config, step, self.steps)
            inputs = self._batches[step].to(self._device, torch.int64)
            with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
                torch.manual_seed(self._streams.key("quizzes/dropout", *self._indices, step))
                logits = self._network(inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), inputs.flatten())
            self._optimizer.zero_grad()
            loss.backward()
            if self._config.max_gradient_norm:
                nn.utils.clip_grad_norm_(self._network.parameters(), self._config.max_gradient_norm)
            self._optimizer.step()
            self._total += loss.detach() * len(inputs)
            self._done = step + 1
        self._network.eval()

    @property
    def loss(self) -> float:
        """Mean cross-entropy of a token, in nats, once all steps are done.

        Raises: DivergedError, in one line, if it is not finite.
        """
        mean = float(self._total) / len(self._tokens)
        if not np.isfinite(mean):
            raise DivergedError(f"loss is {mean}, expected a finite one: a lower rate")
        return mean


def rate(config: QuizTrainingConfig, step: int, steps: int) -> float:
    """Of a gradient step, counted from 0: a line up to the learning rate, then half a cosine down to the last one."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    share = (step - config.warm_up) / max(1, steps - config.warm_up)
    return config.last_learning_rate + (config.learning_rate - config.last_learning_rate) * (1 + cos(pi * share)) / 2


def solve(network: QuizGPT, quizzes: Quizzes, order: Order = FORWARD) -> Grids:
    """What the network takes for the last grid of each quiz in this order, given the other three: (N, H, H)."""
    layout, device = network.layout, network.readout.weight.device
    known = torch.from_numpy(layout.encode(quizzes, order))[:, : -layout.cells]
    found = [network.complete(each.to(device, torch.int64), layout.cells, 0.0) for each in known.split(SOLVED_AT_ONCE)]
    cells = torch.cat(found)[:, -layout.cells :].cpu().numpy().astype(np.uint8)
    return cells.reshape(-1, layout.size, layout.size)


def are_solved(network: QuizGPT, quizzes: Quizzes, order: Order = FORWARD) -> NDArray[np.bool_]:
    """(N,): whether the whole last grid is right."""
    return (solve(network, quizzes, order) == getattr(quizzes, order[-1])).all(axis=(1, 2))
