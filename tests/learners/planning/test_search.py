"""Planners find what costs least where the answer is known, within the bounds, from the noise they are given."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from actors.config import RoomsConfig
from actors.envs.rooms import LAYOUTS, Layout, Rooms
from learners.planning.config import PlannerConfig
from learners.planning.cost import (
    ActionChange,
    ActionSize,
    Cost,
    GoalDistance,
    Guardrail,
    PredictedEnd,
    PredictedReward,
    Term,
)
from learners.planning.model import imagine
from learners.planning.plan import Plan, PlanError, Task
from learners.planning.search import noise_shape, search

KINDS = ("cem", "mppi", "shooting", "gradient")


class Point:
    """Features are a place (D = 2), moved by the action."""

    def encode(self, frames: Tensor) -> Tensor:
        raise AssertionError

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        return features + actions


def config(kind: str, **settings: object) -> PlannerConfig:
    return PlannerConfig.model_validate({"kind": kind, "blocks": 3, "block_steps": 2, **settings})


def plan(kind: str, task: Task, seed: int = 0, warm: Plan | None = None, **settings: Any) -> Plan:
    found = config(kind, **settings)
    shape = noise_shape(found, len(task.start), 2)
    return search(task, found, torch.randn(shape, generator=torch.Generator().manual_seed(seed)), warm)


def to(goal: list[list[float]], *, objective: Literal["sum", "last"] = "last", **costs: Any) -> Task:
    terms = [(1.0, GoalDistance(torch.tensor(goal)))]
    return Task(Point(), torch.zeros(len(goal), 2), Cost(terms, objective=objective, **costs), block_steps=2)


def test_a_rollout_holds_the_start_and_follows_every_candidate():
    actions = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]], [[0.5, 0.5], [0.5, 0.5]]]])  # (1, 2, 2, 2)
    features = imagine(Point(), torch.tensor([[1.0, 1.0]]), actions)
    assert features.tolist() == [[[[1, 1], [2, 1], [2, 3]], [[1, 1], [1.5, 1.5], [2, 2]]]]


class Chancy(Point):
    """Of a step only a share happens, which is drawn; the likeliest is all of it."""

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        return features + (actions if uniforms is None else actions * uniforms.unsqueeze(-1))


def test_of_drawn_outcomes_mean_and_spread_of_their_costs_count_the_same_for_all_candidates():
    shares = torch.tensor([[[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]])  # (2, 3, 2)
    cost = Cost([(1.0, GoalDistance(torch.zeros(2, 2)))], objective="last")
    blocks = torch.tensor([[[[2.0, 0.0]], [[0.0, 4.0]]]]).expand(2, -1, -1, -1)  # (2, 2, 1, 2)
    start = torch.zeros(2, 2)
    for spread in (0.0, 0.5):
        found = Task(Chancy(), start, cost, 2, shares, spread).of(blocks)
        # Once the action where one share happens, or two halves; not at all; twice it where all does.
        costs = torch.tensor([[2.0, 2.0, 0.0], [8.0, 8.0, 0.0]])
        first = costs.mean(dim=1) + spread * costs.std(dim=1, correction=0)
        torch.testing.assert_close(found, torch.stack([first, torch.tensor([8.0, 32.0])]))
    plain = Task(Chancy(), start, cost, 2).of(blocks)
    torch.testing.assert_close(plain, torch.tensor([[8.0, 32.0], [8.0, 32.0]]))


def test_terms_are_what_they_say_and_the_objective_chooses_the_steps():
    actions = torch.tensor([[[[1.0, 0.0], [1.0, 2.0]]]])
    features = imagine(Point(), torch.zeros(1, 2), actions)  # (0, 0), (1, 0), (2, 2)
    goal = GoalDistance(torch.tensor([[2.0, 0.0]]))
    assert goal(features, actions).tolist() == [[[0.5, 2.0]]]
    assert ActionSize()(features, actions).tolist() == [[[1.0, 5.0]]]
    assert ActionChange()(features, actions).tolist() == [[[0.0, 4.0]]]
    ends = lambda each: (each[..., 0], torch.where(each[..., 0] == 1.0, 0.0, 50.0))  # noqa: E731 - half over after one
    assert PredictedReward(ends)(features, actions).tolist() == [[[-1.0, -1.0]]]
    assert PredictedEnd(ends)(features, actions).tolist() == [[[0.5, 1.0]]]
    rail = Guardrail(lambda each: each[..., 0] - 1.5, weight=10.0, margin=0.25)
    assert rail(features, actions).tolist() == [[[0.0, 7.5]]]
    assert rail.violations(features).tolist() == [[1]]
    terms = [(1.0, goal), (0.1, ActionSize())]
    assert Cost(terms)(features, actions).item() == pytest.approx(2.5 + 0.6)
    assert Cost(terms, [rail], objective="last")(features, actions).item() == pytest.approx(2.0 + 0.5 + 7.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_of_a_quadratic_is_found_for_each_environment_on_its_own(kind: str):
    found = plan(kind, to([[3.0, -1.5], [-0.6, 2.4]]), samples=200, iterations=8, elites=20, min_std=0.01)
    reached = found.blocks.sum(dim=1) * 2  # two steps a block
    assert (reached - torch.tensor([[3.0, -1.5], [-0.6, 2.4]])).abs().max() < (0.8 if kind == "shooting" else 0.1)
    assert (found.cost < (0.3 if kind == "shooting" else 0.01)).all()
    alone = plan(kind, to([[3.0, -1.5]]), samples=200, iterations=8, elites=20, min_std=0.01)
    assert alone.blocks.shape == (1, 3, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_plan_leaves_the_bounds_and_the_best_is_at_them(kind: str):
    found = plan(kind, to([[100.0, 0.0]]), samples=200, iterations=8, elites=10)
    assert found.blocks.abs().max() <= 1.0
    assert found.blocks[..., 0].mean() > (0.6 if kind == "shooting" else 0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_noise_is_the_same_plan_and_other_noise_another(kind: str):
    one, again, other = (plan(kind, to([[1.0, 1.0]]), seed, gradient_steps=5) for seed in (0, 0, 1))
    assert torch.equal(one.blocks, again.blocks)
    assert not torch.equal(one.blocks, other.blocks)


def test_cem_leads_to_less_than_shooting_with_as_many_rollouts():
    settings: dict[str, Any] = {"blocks": 8, "samples": 32, "iterations": 5, "elites": 4}
    task = to([[6.0, 6.0]], objective="sum")
    costs = {
        kind: [plan(kind, task, seed, **settings).cost.item() for seed in range(8)] for kind in ("cem", "shooting")
    }
    assert max(costs["cem"]) < min(costs["shooting"])


def test_a_plan_goes_on_where_it_was_and_a_good_one_is_kept():
    blocks = torch.tensor([[[1.0, 0.0], [0.5, 0.0], [0.25, 0.0]]])
    going = Plan(blocks, torch.zeros(1), blocks)
    assert going.shifted(1).blocks.tolist() == [[[0.5, 0.0], [0.25, 0.0], [0.0, 0.0]]]
    task = to([[1.5, 0.0]])
    warm = plan("shooting", task, warm=going.shifted(1), samples=8, iterations=1)
    assert warm.blocks.tolist() == [[[0.5, 0.0], [0.25, 0.0], [0.0, 0.0]]]  # costs nothing
    assert warm.cost.item() == 0.0
    for kind in ("cem", "mppi", "gradient"):
        settings: dict[str, Any] = {"samples": 8, "elites": 1, "iterations": 1, "gradient_steps": 1, "restarts": 2}
        assert plan(kind, task, warm=going.shifted(1), **settings).cost.item() == 0.0
        assert plan(kind, task, **settings).cost.item() > 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_without_a_finite_cost_are_dropped_and_counted_and_all_of_them_are_an_error(kind: str):
    nan_right = Guardrail(lambda each: torch.where(each[..., 0] > 0.5, math.nan, -1.0), weight=1.0)
    found = plan(kind, to([[1.0, -1.0]], guardrails=[nan_right]), samples=50)
    assert found.dropped > 0
    assert found.blocks.isfinite().all()
    assert found.cost.isfinite().all()
    nothing = Guardrail(lambda each: torch.full_like(each[..., 0], math.nan), weight=1.0)
    with pytest.raises(PlanError, match="candidates without a finite cost, expected at least one"):
        plan(kind, to([[1.0, -1.0]], guardrails=[nothing]), samples=50).check()


def test_a_guardrail_keeps_the_plan_out_of_what_is_forbidden():
    zone = Guardrail(lambda each: 1.0 - (each - torch.tensor([1.5, 0.0])).norm(dim=-1), weight=100.0, margin=0.1)
    settings = {"blocks": 6, "samples": 200, "iterations": 10, "elites": 20, "min_std": 0.05}
    for guardrails, inside in (([], True), ([zone], False)):
        task = to([[3.0, 0.1]], objective="sum", guardrails=guardrails)
        found = plan("cem", task, **settings)
        actions = found.blocks.unsqueeze(1).repeat_interleave(2, dim=2)
        features = imagine(Point(), task.start, actions)
        assert bool(zone.violations(features).item()) is inside
        assert (features[0, 0, -1] - torch.tensor([3.0, 0.1])).norm() < 0.5


class TrueRooms:
    """Features are the dot's place; many rows at once, as `actors/envs/rooms.py` moves one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def encode(self, frames: Tensor) -> Tensor:
        raise AssertionError

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        layout, by = self._layout, actions * self._layout.reach
        part = by * (layout.reach / by.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1.0) / 4
        for _ in range(4):
            for axis in range(2):
                tried = features.clone()
                tried[:, axis] += part[:, axis]
                free = (tried >= layout.low).all(dim=1) & (tried <= layout.high).all(dim=1)
                for wall in layout.walls:
                    beside = (tried[:, 0] - wall.x).abs() >= layout.half_width
                    free &= beside | ((tried[:, 1] - wall.door).abs() <= layout.half_door)
                features = torch.where(free[:, None], tried, features)
        return features


def near(goal: Tensor) -> Term:
    """Costs as distances of features do, which tell far from further no more than noise does: 1 − exp(−d² / 2 · 8²)."""
    return lambda features, actions: 1.0 - (-(features[:, :, 1:] - goal[:, None, None]).square().sum(-1) / 128.0).exp()


@pytest.mark.parametrize("kind", ["cem", "mppi"])
def test_with_the_true_dynamics_the_planner_goes_through_the_door(kind: str):
    """What it fails at with a learnt model is the model's."""
    environments = [Rooms(RoomsConfig(), 100 + index, evaluation=True) for index in range(20)]
    for environment in environments:
        environment.reset()

    def places(name: str) -> Tensor:
        return torch.tensor(np.array([getattr(each, name) for each in environments]), dtype=torch.float32)

    model, settings = TrueRooms(LAYOUTS["two_rooms"]), config(kind, blocks=6, block_steps=4)
    cost = Cost([(1.0, near(places("_goal")))])
    generator, warm, reached = torch.Generator().manual_seed(0), None, set[int]()
    for _ in range(RoomsConfig().evaluation_steps // settings.block_steps):
        task = Task(model, places("_position"), cost, settings.block_steps)
        noise = torch.randn(noise_shape(settings, len(environments), 2), generator=generator)
        found = search(task, settings, noise, warm)
        warm = found.shifted(1)
        for index, environment in enumerate(environments):
            action = (found.blocks[index, 0] * 4.0).numpy()
            for _ in range(settings.block_steps):
                if index not in reached and environment.step(action).terminated:
                    reached.add(index)
    assert len(reached) >= 19
