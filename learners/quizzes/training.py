"""An epoch of a quiz model, and how many quizzes it solves.

Legend: N quizzes, L tokens of a sequence, H cells per side.
Source: Fleuret, culture.git: cross-entropy over all tokens, half of the sequences in each direction, an optimiser made
anew for each epoch.
"""

from __future__ import annotations

from collections.abc import Callable
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


def train_epoch(
    network: QuizGPT,
    config: QuizTrainingConfig,
    quizzes: Quizzes,
    streams: Streams,
    *indices: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """Adam over all quizzes once, every second one backward; the mean cross-entropy of a token, in nats.

    Args:
        indices: of the streams, such as round and model.
        progress: called after each gradient step with their number and that of all.

    Raises: DivergedError, in one line, if a loss is not finite.
    """
    device, layout = network.readout.weight.device, network.layout
    generator = streams.numpy("quizzes/order", *indices)
    order = generator.permutation(len(quizzes.a))
    halves = (quizzes, FORWARD, order[::2]), (quizzes, BACKWARD, order[1::2])
    tokens = np.concatenate([layout.encode(Quizzes(*(each[rows] for each in all_)), way) for all_, way, rows in halves])
    shuffled = torch.from_numpy(tokens[generator.permutation(len(tokens))])
    batches = shuffled.split(config.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    total = torch.zeros((), device=device)
    network.train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(streams.key("quizzes/dropout", *indices))
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = rate(config, step, len(batches))
            inputs = batch.to(device, torch.int64)
            loss = F.cross_entropy(network(inputs).flatten(0, 1), inputs.flatten())
            optimizer.zero_grad()
            loss.backward()
            if config.max_gradient_norm:
                nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
            optimizer.step()
            total += loss.detach() * len(batch)
            progress(step + 1, len(batches))
    network.eval()
    mean = float(total) / len(shuffled)
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
