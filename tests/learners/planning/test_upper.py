"""An upper level learns what chunks of actions make of features, plans in strides, and sets the goals of the one below.

Features are places on a plane, to which an action adds a half of itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.action_space import Box
from learners.part import Segments, adam_w
from learners.planning.actor import Memory, PlanningActor
from learners.planning.config import CostConfig, PlannerConfig, UpperConfig, UpperPlannerConfig
from learners.planning.cost import Costs
from learners.planning.numbers import Numbers
from learners.planning.upper import Upper, UpperPlanner
from tests.learners.planning.test_reflex import Plane, no_heads

NUMBERS = Numbers(Box((-1.0, -1.0), (1.0, 1.0)))


class Stride(nn.Module):
    """z + m, but for its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        return features + self.weight * codes


def upper_of(**settings: Any) -> Upper:
    torch.manual_seed(0)
    config = {"kind": "chunks", "steps": 2, "rollout": 2, "near": 1} | settings
    return Upper(UpperConfig.model_validate(config), Stride(), NUMBERS)


def codes_are_sums(upper: Upper) -> None:
    """Half the sum of a chunk's two actions: what they do."""
    halves = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        halves.weight.copy_(0.5 * torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]))
    upper.codes = nn.Sequential(halves)


def stride_of(upper: Upper) -> Tensor:
    """How long its strides are, of as long codes."""
    assert isinstance(upper.predictor, Stride)
    return upper.predictor.weight


def walks(batch: int, steps: int, *, known: int | None = None) -> Segments:
    """Random ones; of the first only `known` steps are, where that is said."""
    actions = torch.rand(batch, steps, 2) * 2 - 1
    moved = torch.cat([torch.zeros(batch, 1, 2), 0.5 * actions[:, :-1]], dim=1)
    features, mask = torch.randn(batch, 1, 2) + moved.cumsum(dim=1), torch.ones(batch, steps, dtype=torch.bool)
    if known is not None:
        mask[0, known:], features[0, known:] = False, torch.nan
    nothing = torch.zeros(batch, steps)
    return Segments(actions, nothing, nothing.bool(), mask, {"features": features.nan_to_num(100.0)})


def test_its_loss_is_the_error_of_every_stride_from_the_first_state_on():
    upper, segments = upper_of(), walks(3, 5)
    codes_are_sums(upper)
    exact = upper.loss(segments, torch.zeros(0))
    assert exact.terms["prediction"].value < 1e-12
    with torch.no_grad():
        stride_of(upper).fill_(0.0)  # it says that nothing moves
    features = segments.columns["features"]
    still = (features[:, 2::2] - features[:, :1]).square().mean()
    wrong = upper.loss(segments, torch.zeros(0))
    torch.testing.assert_close(wrong.terms["prediction"].value, still)
    torch.testing.assert_close(wrong.metrics["error_over_still"], torch.ones(()))


def test_a_chunk_that_is_not_all_there_counts_nowhere():
    upper, segments = upper_of(), walks(3, 5, known=4)  # of its two chunks, one is
    codes_are_sums(upper)
    losses = upper.loss(segments, torch.zeros(0))
    assert losses.terms["prediction"].value < 1e-12
    assert losses.terms["prediction"].sums[1] == 5
    for name in ("low", "high"):
        assert losses.sums[name].abs().max() <= 1.0, name
    assert losses.sums["near"] < 1.0
    for name, found in upper.loss(walks(1, 5, known=1), torch.zeros(0)).sums.items():
        assert not found.isfinite().any(), name


def test_the_extent_of_codes_and_what_is_near_are_moving_averages():
    upper = upper_of()
    taken, sums = torch.tensor(True), {"low": torch.tensor([-2.0, -4.0]), "high": torch.ones(2), "near": torch.ones(())}
    upper.follow(taken, sums)
    assert upper.low.tolist() == [-2.0, -4.0]  # the first is all that is known
    upper.follow(taken, {**sums, "low": torch.zeros(2)})
    assert upper.low.tolist() == [-1.0, -2.0]
    upper.follow(torch.tensor(False), {**sums, "low": torch.zeros(2)})
    upper.follow(taken, {**sums, "near": torch.tensor(9.0), "low": torch.tensor([0.0, torch.nan])})
    assert upper.low.tolist() == [-1.0, -2.0]
    assert (float(upper.near), float(upper.seen)) == (1.0, 2.0)
    for _ in range(200):
        upper.follow(taken, sums)
    before = float(upper.near)
    upper.follow(taken, {**sums, "near": torch.tensor(2.0)})
    assert float(upper.near) - before == pytest.approx(0.01, rel=1e-4)


def test_numbers_of_a_plan_go_from_the_least_code_to_the_greatest():
    upper = upper_of()
    upper.low.copy_(torch.tensor([-3.0, 1.0]))
    upper.high.copy_(torch.tensor([1.0, 2.0]))
    found = upper.predict(torch.zeros(3, 2), torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[-3.0, 1.0], [-1.0, 1.5], [1.0, 2.0]]))


def test_it_learns_what_chunks_do():
    upper = upper_of()
    optimizer = adam_w(upper, upper.config.training.model_copy(update={"learning_rate": 3e-3}))
    for _ in range(300):
        optimizer.zero_grad()
        losses = upper.loss(walks(64, 5), torch.zeros(0))
        losses.terms["prediction"].value.backward()
        optimizer.step()
        upper.follow(torch.tensor(True), losses.sums)
    assert upper.loss(walks(64, 5), torch.zeros(0)).metrics["error_over_still"] < 0.02
    reach = (upper.high - upper.low).detach() * stride_of(upper).abs().detach()
    assert ((reach > 1.0) & (reach < 2.0)).all(), reach  # of sums of two uniform numbers: 96 % within ± 0.8


def planner_of(upper: Upper, every: int = 1, **weights: float) -> UpperPlanner:
    upper.low.fill_(-1.0)
    upper.high.fill_(1.0)
    costs = Costs(CostConfig.model_validate(weights), no_heads)
    return UpperPlanner(upper, UpperPlannerConfig(blocks=3, samples=64, every=every), costs)


def test_the_first_state_of_its_plan_is_the_subgoal_and_a_near_goal_is_its_own():
    planner = planner_of(upper_of(), action=5.0, smoothness=5.0, reward=1.0, end=1.0)  # which codes do not have
    planner.level.near.fill_(0.5)
    start, goals = torch.zeros(2, 2), torch.tensor([[2.5, -2.5], [0.5, 0.6]])
    noise = torch.randn(planner.noise_shape(2), generator=torch.Generator().manual_seed(0))
    course = planner.plan(start, goals, noise)
    assert course.foreseen.shape == (2, 3, 2)
    torch.testing.assert_close(course.foreseen[0, 0], torch.tensor([1.0, -1.0]), atol=0.1, rtol=0)
    assert torch.equal(course.subgoal[0], course.foreseen[0, 0])
    assert torch.equal(course.subgoal[1], goals[1])


def actor_of(planner: UpperPlanner, **settings: Any) -> PlanningActor:
    below = PlannerConfig.model_validate({"levels": 2, "blocks": 2, "block_steps": 1} | settings)
    return PlanningActor(Plane(), below, Costs(CostConfig(), no_heads), NUMBERS, turn=0.0, upper=planner)


def walk(actor: PlanningActor, goal: list[float], steps: int) -> tuple[Tensor, list[Memory]]:
    """Where it comes to, and what it remembers on the way."""
    generator, features = np.random.default_rng(0), torch.zeros(1, 2)
    state, states = Memory(np.zeros((1, 2), np.float32), np.zeros((1, 3, 64, 64), np.uint8), torch.tensor([goal])), []
    for _ in range(steps):
        thought = actor.think(features, state, generator, temperature=1.0)
        state, features = thought.state, features + 0.5 * torch.from_numpy(thought.actions)
        states.append(state)
        assert thought.beyond is state.course.foreseen
    return features, states


class Down(nn.Module):
    """Whatever the code, a stride leads down by three."""

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        return features + torch.tensor([0.0, 3.0]) + 0.0 * codes


def test_the_level_below_goes_where_the_upper_one_says():
    found, _ = walk(actor_of(planner_of(upper_of())), [4.0, 0.0], 8)
    assert found[0, 0] > 3.0
    assert found[0, 1].abs() < 0.5
    elsewhere = planner_of(upper_of())
    elsewhere.level.predictor = Down()
    found, _ = walk(actor_of(elsewhere), [4.0, 0.0], 4)
    assert found[0, 1] > 1.5
    assert found[0, 0].abs() < 0.5


def test_it_plans_anew_at_its_own_pace():
    _, states = walk(actor_of(planner_of(upper_of(), every=2)), [40.0, 0.0], 6)
    courses = [state.course for state in states]
    assert [courses[number] is courses[number + 1] for number in range(5)] == [True, False, True, False, True]
    _, states = walk(actor_of(planner_of(upper_of()), execute=2), [40.0, 0.0], 4)
    courses = [state.course for state in states]
    assert [courses[number] is courses[number + 1] for number in range(3)] == [True, False, True]


def test_another_goal_makes_another_course():
    actor = actor_of(planner_of(upper_of(), every=9))
    actor._encode = lambda frames: torch.tensor([[-4.0, 0.0]])  # type: ignore[method-assign]
    _, states = walk(actor, [4.0, 0.0], 1)
    aimed = actor.aim(states[0], np.zeros((1, 3, 64, 64), np.uint8))
    thought = actor.think(torch.zeros(1, 2), aimed, np.random.default_rng(0), temperature=1.0)
    assert thought.beyond is not None
    assert thought.beyond[0, 0, 0] < -0.5
