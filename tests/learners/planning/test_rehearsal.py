"""A critic learns from plans that it remembers: what of them counts, by hand; and whether it helps, on a line.

Features are places on a line, to which an action of −1 to 1 adds.
Legend: B segments, T steps.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learners.action_space import Box
from learners.part import Losses, Segments, adam_w
from learners.planning.config import CostConfig, CriticConfig
from learners.planning.cost import Costs
from learners.planning.numbers import Numbers
from learners.planning.plan import Task
from learners.planning.rehearsal import Rehearsal
from learners.planning.value_critic import ValueCritic

NUMBERS = Numbers(Box((-1.0,), (1.0,)))
YES = torch.tensor(True)


class Line:
    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        return features + actions


class Place(nn.Module):
    """Says of a state (..., 1) with its goal where it is."""

    def forward(self, asked: Tensor) -> Tensor:
        return asked[..., :1]


def no_heads(features: Tensor) -> tuple[Tensor, Tensor]:
    raise AssertionError


def rehearsal_of(plans: int, memory: int = 100, **settings: Any) -> Rehearsal:
    torch.manual_seed(0)
    planner = {"blocks": 3, "samples": 32, "iterations": 5, "min_std": 0.01}
    rehearsal = {"plans": plans, "memory": memory, "planner": planner}
    config = {"kind": "time", "hidden": 32, "steps": 6, "reach": 8, "discount": 0.9, "rehearsal": rehearsal} | settings
    return Rehearsal(ValueCritic(CriticConfig.model_validate(config), 1, has_goals=True), 2, 1, NUMBERS)


def segments_of(places: Tensor) -> Segments:
    """(B, T) of places."""
    nothing = torch.zeros(places.shape)
    return Segments(nothing, nothing, nothing.bool(), ~nothing.bool(), {"features": places.unsqueeze(-1)})


def asked(rehearsal: Rehearsal, segments: Segments, goals: Tensor, *, guided: bool = False) -> Losses:
    """With plans from where segments begin."""
    weights = CostConfig(critic=1.0 if guided else 0.0)
    cost = Costs(weights, no_heads, rehearsal.critic if guided else None).to(goals, "sum")
    start = segments.columns["features"][: len(goals), 0]
    noise = torch.rand(1, len(segments.mask), rehearsal.uniforms)
    return rehearsal.loss(segments, Task(Line(), start, cost, block_steps=2), goals, noise)


def standing(places: list[float]) -> Segments:
    """Steps of a tenth."""
    return segments_of(torch.tensor(places)[:, None] + 0.1 * torch.arange(9))


def constant(rehearsal: Rehearsal, value: float, slow: float) -> None:
    for network, said in ((rehearsal.critic.value, value), (rehearsal.critic.slow, slow)):
        torch.nn.init.zeros_(network.get_parameter("6.weight"))
        torch.nn.init.constant_(network.get_parameter("6.bias"), said)


def test_plans_are_looked_back_on_from_the_next_step_on():
    """A goal 20 away is not reached in six steps: from step k on, 6 − k count, and then its own estimate."""
    rehearsal = rehearsal_of(1, expectile=0.5)
    constant(rehearsal, 2.0, 8.0)
    segments, goals = standing([0.0, 1.0]), torch.tensor([[20.0]])
    first = asked(rehearsal, segments, goals)
    assert first.terms["planned"].value.item() == 0.0
    assert first.metrics["familiar"].item() == 0.0
    rehearsal.follow(YES, first.sums)
    walk = rehearsal.memory.at(torch.tensor([0]))
    assert walk.steps.tolist() == [6]
    assert not walk.arrived.item()
    assert 5.0 < walk.states[0, -1].item() <= 6.0
    noise = torch.full((1, 2, rehearsal.uniforms), 0.5)
    moved = rehearsal.critic.slow.get_parameter("6.bias").item()
    assert moved == pytest.approx(0.99 * 8.0 + 0.01 * 2.0)
    rehearsal.critic.value = Place()  # type: ignore[assignment]
    noise[0, :, 4] = torch.tensor([0.0, 0.9])  # from the first step on, and from the last but one
    task = Task(Line(), segments.columns["features"][:1, 0], Costs(CostConfig(), no_heads).to(goals, "sum"), 2)
    second = rehearsal.loss(segments, task, goals, noise)
    targets = [sum(0.9**k for k in range(6)) + 0.9**6 * moved, 1.0 + 0.9 * moved]
    errors = [target - walk.states[0, step].item() for target, step in zip(targets, (0, 5), strict=True)]
    expected = sum(0.5 * error**2 for error in errors) / 2
    assert second.terms["planned"].value.item() == pytest.approx(expected, rel=1e-5)
    assert second.metrics["planned_over"].item() == 0.0
    assert second.metrics["familiar"].item() > 0.3


def test_a_walk_is_over_where_it_reaches_its_goal():
    """Nearer than one step of what was lived through, 0.1, after two of at most 1."""
    rehearsal = rehearsal_of(1, expectile=0.5)
    constant(rehearsal, 2.0, 8.0)
    segments, goals = standing([0.0, 1.0]), torch.tensor([[2.0]])
    losses = asked(rehearsal, segments, goals)
    rehearsal.follow(YES, losses.sums)
    walk = rehearsal.memory.at(torch.tensor([0]))
    assert walk.arrived.item()
    reached = int(walk.steps)
    assert (walk.states[0, reached] - 2.0).abs().item() < 0.1
    assert ((walk.states[0, 1:reached] - 2.0).abs() >= 0.1).all()
    again = asked(rehearsal, segments, goals)
    assert again.metrics["planned_over"].item() == 1.0


def test_what_is_not_finite_is_not_remembered():
    rehearsal = rehearsal_of(1)
    losses = asked(rehearsal, standing([0.0, 1.0]), torch.tensor([[2.0]]))
    rehearsal.follow(YES, {**losses.sums, "states": losses.sums["states"] * torch.inf})
    assert rehearsal.memory.written.item() == 0
    assert rehearsal.memory.states.isfinite().all()
    rehearsal.follow(YES, losses.sums)
    assert rehearsal.memory.written.item() == 1


def test_a_critic_of_costs_remembers_the_distance_of_each_step():
    rehearsal = rehearsal_of(1, kind="cost")
    losses = asked(rehearsal, standing([0.0, 1.0]), torch.tensor([[20.0]]))
    states, costs = losses.sums["states"][0], losses.sums["costs"][0]
    torch.testing.assert_close(costs, (states[1:, 0] - 20.0).square())


def lines(plans: int) -> Tensor:
    """Steps to 6 from 0 … 5, as a critic of means tells them who has seen uniform walks, and plans if there are any."""
    rehearsal = rehearsal_of(plans, expectile=0.5, reach=16)
    part_of = adam_w(rehearsal, rehearsal.critic.config.training)
    for _ in range(300):
        steps = 2.0 * torch.rand(32, rehearsal.critic.length) - 1.0
        steps[:, 0] = 8.0 * torch.rand(32)
        segments = segments_of(steps.cumsum(dim=1))
        goals = segments.columns["features"].roll(1, 0)[:plans, 0]
        losses = asked(rehearsal, segments, goals, guided=True)
        part_of.zero_grad()
        sum(term.value for term in losses.terms.values()).backward()  # type: ignore[union-attr]
        part_of.step()
        rehearsal.follow(YES, losses.sums)
    with torch.no_grad():
        return rehearsal.critic(torch.arange(6.0)[:, None], torch.tensor([6.0]))


def test_who_looks_back_on_plans_expects_to_arrive():
    """Uniform walks of steps of at most 1 take long; plans need as many steps as it is far."""
    mean, planned = lines(0), lines(8)
    assert (planned < mean).all()
    assert planned[3].item() < 0.8 * mean[3].item()
