"""A distance in steps, put together from those that were seen: it obeys its laws, and finds the shortest ways."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learners.part import Segments, adam_w
from learners.planning.config import CriticConfig
from learners.planning.quasimetric import Quasimetric


def quasimetric(**settings: int) -> Quasimetric:
    torch.manual_seed(0)
    return Quasimetric(CriticConfig.model_validate({"kind": "quasimetric", "hidden": 32, "reach": 16} | settings), 9)


def pairs(first: Tensor, second: Tensor, known: Tensor | None = None) -> Segments:
    mask = torch.ones(len(first), 2, dtype=torch.bool)
    if known is not None:
        mask[:, 1] = known
    nothing = torch.zeros(len(first), 2)
    return Segments(nothing, nothing, nothing.bool(), mask, {"features": torch.stack([first, second], dim=1)})


def test_it_is_a_distance_but_for_symmetry():
    critic, (a, b, c) = quasimetric(), torch.randn(3, 50, 9)
    assert torch.equal(critic(a, a), torch.zeros(50))
    assert (critic(a, c) <= critic(a, b) + critic(b, c) + 1e-6).all()
    assert (critic(a, b) > 0).all()
    assert (critic(a, b) != critic(b, a)).all()
    assert critic(a[:, None], b[:1]).shape == (50, 1)


def test_its_loss_counts_steps_that_are_too_long_and_pairs_that_are_too_near():
    critic, (a, b) = quasimetric(), 100 * torch.randn(2, 4, 9)
    long = (critic(a, b) - 1).clamp(min=0)
    assert (long > 0).all()
    losses = critic.loss(pairs(a, b, torch.tensor([True, False, True, True])), torch.zeros(0))
    torch.testing.assert_close(losses.terms["steps"].value, 100 * long[[0, 2, 3]].square().mean())
    apart = critic(a, a.roll(1, 0))
    torch.testing.assert_close(losses.terms["pairs"].value, (1 + (16 - apart).exp()).log().mean())
    nobody = critic.loss(pairs(a, b, torch.zeros(4, dtype=torch.bool)), torch.zeros(0))
    assert nobody.terms["steps"].value == 0.0


def test_it_finds_the_length_of_ways_that_nobody_walked_in_both_directions():
    """On a ring of six places one can only go on: five steps lead where one step would go back."""
    critic, eye = quasimetric(), torch.eye(9)[:6]
    optimizer = adam_w(critic, critic.config.training.model_copy(update={"learning_rate": 2e-3}))
    for _ in range(600):
        places = torch.randint(6, (64,))
        optimizer.zero_grad()
        losses = critic.loss(pairs(eye[places], eye[(places + 1) % 6]), torch.zeros(0))
        sum(term.value for term in losses.terms.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    with torch.no_grad():
        found = torch.stack([critic(eye, eye.roll(-steps, 0)).mean() for steps in range(1, 6)])
    assert found[:4].tolist() == pytest.approx([1.0, 2.0, 3.0, 4.0], rel=0.1)
    assert found[4] > 3.0
