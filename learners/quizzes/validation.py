"""Which quizzes are kept: what each model makes of each, and the rule over their votes.

Legend: N quizzes, M models, H cells per side, L tokens of a sequence.
Source: Fleuret, culture.git and its README: the count of the talk, both directions, probability, failures by cells.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from learners.quizzes.config import ValidationConfig
from learners.quizzes.network import QuizGPT
from learners.quizzes.sequences import BACKWARD, FORWARD, Order
from learners.quizzes.tasks import Quizzes
from learners.quizzes.training import SOLVED_AT_ONCE, solve

FAILS, UNDECIDED, UNDERSTANDS = -1, 0, 1
Votes = NDArray[np.int8]
"""FAILS, UNDECIDED or UNDERSTANDS."""


def swapped(quizzes: Quizzes) -> Quizzes:
    """The same rule shown by the other pair; read backwards, it asks for b, given f(a), a and f(b)."""
    return Quizzes(quizzes.b, quizzes.fb, quizzes.a, quizzes.fa)


def votes(network: QuizGPT, config: ValidationConfig, quizzes: Quizzes) -> Votes:
    """(N,): what one model makes of each quiz."""
    if config.by == "probability":
        found = probabilities(network, quizzes)
        understands, fails = found >= config.understood_above, found <= config.failed_below
    else:
        wrong = (solve(network, quizzes) != quizzes.fb).sum(axis=(1, 2))
        if config.backward:
            wrong_backward = (solve(network, swapped(quizzes), BACKWARD) != quizzes.b).sum(axis=(1, 2))
            wrong = np.maximum(wrong, wrong_backward)
        understands, fails = wrong == 0, wrong > config.wrong_cells
    return np.select([understands, fails], [UNDERSTANDS, FAILS], UNDECIDED).astype(np.int8)


def probabilities(network: QuizGPT, quizzes: Quizzes) -> NDArray[np.float64]:
    """(N,): p(f(b) | a, f(a), b) · p(b | f(a), a, f(b))."""
    forward, backward = (
        _log_probability(network, quizzes, FORWARD),
        _log_probability(network, swapped(quizzes), BACKWARD),
    )
    return np.exp(forward + backward)


def are_kept(found: Votes, config: ValidationConfig, generator: np.random.Generator) -> NDArray[np.bool_]:
    """(N,), of the votes (N, M) of all models. Where not all are asked, the generator chooses who is."""
    if config.judges:
        chosen = generator.random(found.shape).argsort(axis=1)[:, : config.judges]
        found = np.take_along_axis(found, chosen, axis=1)
    passes, failures = (found == UNDERSTANDS).sum(axis=1), (found == FAILS).sum(axis=1)
    kept = (passes >= config.least_passes) & (failures >= config.least_failures)
    kept &= (failures <= config.most_failures) | (config.most_failures == 0)
    return np.asarray(kept & ((found != UNDECIDED).all(axis=1) | config.undecided))


@torch.no_grad()
def _log_probability(network: QuizGPT, quizzes: Quizzes, order: Order) -> NDArray[np.float64]:
    """(N,): of the whole last grid given the other three; cells are colours for sure."""
    layout, device = network.layout, network.readout.weight.device
    found = []
    for each in torch.from_numpy(layout.encode(quizzes, order)).split(SOLVED_AT_ONCE):
        tokens = each.to(device, torch.int64)
        logits = network(tokens)[:, -layout.cells :, : 1 + layout.colours].double()
        found.append(logits.log_softmax(dim=2).gather(2, tokens[:, -layout.cells :, None]).sum(dim=(1, 2)))
    return torch.cat(found).cpu().numpy()
