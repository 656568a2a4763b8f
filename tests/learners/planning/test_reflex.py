"""A reflex learns what plans begin with, where it gets to by itself; alone it does that, and plans can begin with it.

Features are places on a plane, to which an action adds; of one of several actions, the first goes left, the last right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.action_space import ActionSpace, Box, Discrete
from learners.part import adam_w
from learners.planning.actor import Memory, PlanningActor
from learners.planning.config import CostConfig, PlannerConfig, ReflexConfig
from learners.planning.cost import Costs
from learners.planning.numbers import Numbers
from learners.planning.plan import Task
from learners.planning.reflex import Reflex

BOX, CHOICE = Box((-1.0, -1.0), (1.0, 1.0)), Discrete(3)
SPACES: dict[str, ActionSpace] = {"box": BOX, "choice": CHOICE}
PLANNER = PlannerConfig(blocks=1, samples=32, elites=2, iterations=3)


class Plane(nn.Module):
    """Remembers where it was asked from."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.asked: list[Tensor] = []

    def encode(self, frames: Tensor) -> Tensor:
        raise AssertionError

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        self.asked.append(features)
        if actions.shape[-1] == 3:
            actions = actions @ torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
        return features + 0.5 * actions


def no_heads(features: Tensor) -> tuple[Tensor, Tensor]:
    raise AssertionError


COSTS = Costs(CostConfig(), no_heads)


def reflex_of(space: ActionSpace, **settings: Any) -> Reflex:
    torch.manual_seed(0)
    config = ReflexConfig.model_validate({"kind": "distilled", "hidden": 32, "rollout": 2} | settings)
    return Reflex(config, PLANNER, 2, Numbers(space), has_goals=True)


def asked_of(start: Tensor, goals: Tensor, model: Plane | None = None) -> Task:
    return Task(model or Plane(), start, COSTS.to(goals, "sum"), block_steps=2)


def taught(space: ActionSpace, steps: int) -> Reflex:
    reflex, model = reflex_of(space), Plane()
    optimizer = adam_w(reflex, reflex.config.training.model_copy(update={"learning_rate": 3e-3}))
    for _ in range(steps):
        start, goals = torch.randn(2, 64, 2)
        task = asked_of(start, goals, model)
        optimizer.zero_grad()
        reflex.loss(task, goals, torch.rand(1, 64, reflex.uniforms)).terms["plans"].value.backward()
        optimizer.step()
    return reflex


@pytest.mark.parametrize("space", SPACES)
def test_what_it_was_taught_leads_to_the_goal_at_once(space: str):
    reflex, start, goals = taught(SPACES[space], 80), torch.tensor([[1.5, 0.0], [-1.5, 0.0]]), torch.zeros(2, 2)
    found = reflex.plan(asked_of(start, goals), goals, 3).blocks
    assert found.shape == (2, 3, 2 if space == "box" else 3)
    if space == "box":
        assert found[0, 0, 0] < -0.5
        assert found[1, 0, 0] > 0.5
        assert found[:, 2].abs().max() < 0.6  # it is there
    else:
        assert found[:, 0].argmax(dim=-1).tolist() == [0, 2]
        assert set(found.flatten().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(reflex(start, goals).sum(dim=-1), torch.ones(2))


def test_it_is_taught_where_it_gets_to():
    """The plan is asked from where its own blocks, of two steps each, lead."""
    reflex, model = reflex_of(BOX), Plane()
    start, goals = torch.randn(2, 3, 2)
    noise = torch.rand(1, 3, reflex.uniforms)
    noise[0, :, 0] = torch.tensor([0.1, 0.5, 0.9])  # 0, 1 and 2 blocks of its own
    reflex.loss(asked_of(start, goals, model), goals, noise)
    asked = model.asked[2 * 2]  # after two blocks of two steps
    own = reflex.plan(asked_of(start, goals), goals, 2).blocks  # (3, 2, 2)
    expected = start.clone()
    expected[1] += own[1, 0]
    expected[2] += own[2].sum(dim=0)
    torch.testing.assert_close(asked.unflatten(0, (3, -1))[:, 0], expected)


def player(reflex: Reflex, **settings: Any) -> PlanningActor:
    planner = PlannerConfig.model_validate({"blocks": 2, "block_steps": 2, "samples": 4, "elites": 1} | settings)
    return PlanningActor(Plane(), planner, COSTS, Numbers(BOX), turn=0.0, reflex=reflex)


def test_alone_it_does_as_it_was_taught_and_draws_nothing():
    reflex, start, goal = taught(BOX, 40), torch.tensor([[1.5, 0.0]]), torch.zeros(1, 2)
    alone, generator = player(reflex, kind="reflex"), np.random.default_rng(0)
    before = generator.bit_generator.state
    state = Memory(np.zeros((1, 2), np.float32), np.zeros((1, 3, 64, 64), np.uint8), goal)
    with torch.no_grad():
        plan = reflex.plan(asked_of(start, goal), goal, 2).blocks
    for block in (0, 0):  # held for two steps
        thought = alone.think(start, state, generator, temperature=1.0)
        np.testing.assert_allclose(thought.actions, plan[:, block].numpy(), atol=1e-6)
        state = thought.state
    assert generator.bit_generator.state == before


def test_a_plan_that_begins_with_it_costs_no_more_than_it():
    reflex, start, goal = taught(BOX, 40), torch.tensor([[1.5, 0.3]]), torch.zeros(1, 2)
    values = {}
    for name, settings in {"alone": {"kind": "reflex"}, "from it": {"guess": True, "iterations": 1}}.items():
        who = player(reflex, **settings)
        state = Memory(np.zeros((1, 2), np.float32), np.zeros((1, 3, 64, 64), np.uint8), goal)
        thought = who.think(start, state, np.random.default_rng(0), temperature=1.0)
        assert thought.value is not None
        values[name] = thought.value.item()
    assert values["from it"] >= values["alone"]


def test_of_several_actions_a_plan_around_it_still_looks_at_others():
    """It would go right, away from the goal; the odds of the others are not none."""
    torch.manual_seed(0)
    reflex = reflex_of(CHOICE)
    torch.nn.init.zeros_(reflex.get_parameter("layers.4.weight"))
    reflex.get_parameter("layers.4.bias").data = torch.tensor([0.0, 0.0, 9.0])
    start, goal = torch.tensor([[1.5, 0.0]]), torch.zeros(1, 2)
    planner = PlannerConfig(guess=True, blocks=2, block_steps=2, samples=64, elites=2, iterations=3)
    who = PlanningActor(Plane(), planner, COSTS, Numbers(CHOICE), turn=0.0, reflex=reflex)
    state = Memory(np.zeros((1, 3), np.float32), np.zeros((1, 3, 64, 64), np.uint8), goal)
    assert reflex.plan(asked_of(start, goal), goal, 2).blocks.argmax(dim=-1).tolist() == [[2, 2]]
    assert who.think(start, state, np.random.default_rng(0), temperature=1.0).actions.tolist() == [0]
