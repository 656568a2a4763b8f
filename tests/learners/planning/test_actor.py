"""The actor wanders without a goal, plans to one it is given, and draws as much whatever it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.action_space import Box, Discrete
from learners.planning.actor import PlanningActor
from learners.planning.config import CostConfig, PlannerConfig
from learners.planning.cost import Costs
from learners.planning.numbers import Numbers
from learners.planning.place import depth_in

SPACE = Box((-4.0, -4.0), (4.0, 4.0))


class Corner(nn.Module):
    """Features: the red and the green of the first pixel, in tens of levels; an action adds to them."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.encoded = 0

    def encode(self, frames: Tensor) -> Tensor:
        self.encoded += 1
        return frames[:, :2, 0, 0].float() / 10.0

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        return features + actions


def no_heads(features: Tensor) -> tuple[Tensor, Tensor]:
    raise AssertionError


def frames(*corners: tuple[int, int]) -> np.ndarray:
    found = np.zeros((len(corners), 3, 64, 64), np.uint8)
    found[:, :2, 0, 0] = corners
    return found


def actor(corner: Corner | None = None, cost: CostConfig = CostConfig(), **settings: object) -> PlanningActor:  # noqa: B008 - frozen
    planner = PlannerConfig.model_validate({"blocks": 2, "block_steps": 2, **settings})
    numbers, where = Numbers(SPACE), lambda features: 10.0 * features
    return PlanningActor(corner or Corner(), planner, Costs(cost, no_heads, None, where), numbers, turn=0.1)


def test_numbers_are_half_ranges_and_one_of_several_actions_is_one_hot():
    box = Numbers(Box((-4.0, 0.0), (4.0, 1.0)))
    assert box.of(torch.tensor([[4.0, 0.5], [-2.0, 0.0]])).tolist() == [[1.0, 0.0], [-0.5, -1.0]]
    assert box.actions(torch.tensor([[1.0, 0.0], [-0.5, -1.0]])).tolist() == [[4.0, 0.5], [-2.0, 0.0]]
    choice = Numbers(Discrete(3))
    assert choice.of(torch.tensor([2, 0], dtype=torch.int32)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert choice.actions(torch.tensor([[0.1, 0.7, 0.2]])).tolist() == [1]


def test_a_goal_is_approached_by_plans_that_are_held_for_their_blocks():
    corner = Corner()
    player = actor(corner, samples=100, elites=10, iterations=6, min_std=0.05)
    state = player.aim(player.initial_state(2), frames((100, 100), (100, 60)))
    seen, generator, taken = frames((80, 80), (80, 80)), np.random.default_rng(0), []
    for _ in range(4):
        actions, state = player.act(seen, state, generator, temperature=1.0)
        taken.append(actions)
    assert (taken[0] == taken[1]).all()
    assert (np.abs(np.array(taken)) <= 4.0).all()
    assert taken[0][0] == pytest.approx(np.array([4.0, 4.0]), abs=0.8)
    assert taken[0][1] == pytest.approx(np.array([4.0, -4.0]), abs=0.8)
    assert corner.encoded == 1 + 2  # the goal, and a frame for each plan of one block


def test_without_a_goal_it_wanders_in_strides_and_turns_where_it_is_stuck():
    player, generator = actor(), np.random.default_rng(0)
    state = player.initial_state(1)
    directions, lengths = [], []
    for step in range(200):
        actions, state = player.act(frames((step, 0)), state, generator, temperature=1.0)
        directions.append(np.arctan2(actions[0, 1], actions[0, 0]))
        lengths.append(np.hypot(*actions[0]))
    turns = np.angle(np.exp(1j * np.diff(directions)))
    assert 0.07 < turns.std() < 0.13
    assert max(lengths) <= 4.0 + 1e-5
    assert 2.4 < np.mean(lengths) < 2.9  # 4 · 2/3
    stuck = []
    for _ in range(50):
        actions, state = player.act(frames((7, 7)), state, generator, temperature=1.0)
        stuck.append(np.arctan2(actions[0, 1], actions[0, 0]))
    assert np.angle(np.exp(1j * np.diff(stuck[1:]))).std() > 1.0


def test_burning_in_is_going_on():
    player, generator = actor(), np.random.default_rng(0)
    actions, state = player.act(frames((1, 1), (2, 2)), player.initial_state(2), generator, temperature=1.0)
    burnt = player.burn_in(frames((1, 1), (2, 2))[:, None], actions[:, None], np.array([[True], [True]]))
    assert burnt.last == pytest.approx(state.last, abs=1e-6)
    assert (burnt.frames == state.frames).all()
    fresh = player.burn_in(frames((0, 0))[:, None], np.zeros((1, 1, 2), np.float32), np.array([[False]]))
    assert np.isnan(fresh.last).all()


def test_as_much_is_drawn_whether_it_plans_or_goes_on():
    drawn = []
    for steps in (1, 2):
        player, generator = actor(), np.random.default_rng(0)
        state = player.aim(player.initial_state(1), frames((100, 100)))
        for _ in range(steps):
            _, state = player.act(frames((0, 0)), state, generator, temperature=1.0)
        drawn.append(generator.random())
    again = np.random.default_rng(0)
    for expected in drawn:
        again.standard_normal((5, 1, 64, 2, 2), dtype=np.float32)
        copy = np.random.default_rng()
        copy.bit_generator.state = again.bit_generator.state
        assert copy.random() == expected


def test_who_thinks_does_what_who_acts_does_and_says_what_it_foresees():
    player, seen = actor(samples=50, elites=5), frames((80, 80), (80, 80))
    goals = frames((100, 100), (100, 60))
    acts = thinks = player.aim(player.initial_state(2), goals)
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    for left in (4, 3, 4):  # a plan of two blocks of two steps; after the first it plans anew
        actions, acts = player.act(seen, acts, one, temperature=1.0)
        thought = player.think(Corner().encode(torch.from_numpy(seen)), thinks, other, temperature=1.0)
        thinks = thought.state
        assert np.array_equal(thought.actions, actions)
        assert thought.odds is None
        assert thought.foreseen is not None
        assert thought.foreseen.shape == (2, left, 2)
        expected = torch.tensor([[8.0, 8.0]]) + torch.from_numpy(actions) / 4.0
        torch.testing.assert_close(thought.foreseen[:, 0], expected)
        assert thought.value is not None
        assert (thought.value < 0).all()
    with pytest.raises(ValueError, match="found no goal, expected one: call aim"):
        player.think(torch.zeros(1, 2), player.initial_state(1), one, temperature=1.0)


def test_one_of_several_actions_is_told_with_its_odds():
    class Worth(nn.Module):
        def encode(self, frames: Tensor) -> Tensor:
            raise AssertionError

        def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
            return actions[:, 1:2]  # the second action is good

    def heads(features: Tensor) -> tuple[Tensor, Tensor]:
        return features[..., 0], torch.full_like(features[..., 0], -9.0)

    planner = PlannerConfig(blocks=2, block_steps=1, samples=30, elites=5)
    player = PlanningActor(Worth(), planner, Costs(CostConfig(goal=0, reward=1), heads), Numbers(Discrete(3)), turn=0.0)
    thought = player.think(torch.zeros(2, 1), player.initial_state(2), np.random.default_rng(0), temperature=1.0)
    assert thought.actions.tolist() == [1, 1]
    assert thought.odds is not None
    assert (thought.odds[:, 1] > 0.8).all()
    torch.testing.assert_close(thought.odds.sum(dim=1), torch.ones(2))


def test_a_zone_on_the_way_is_kept_out_of():
    """From (80, 80) to (100, 80) in tens of pixels: the straight way leads through a disc."""
    zone = (90.0, 80.0, 5.0)
    goals, seen = frames((100, 80)), frames((80, 80))
    inside = {}
    for name, cost in {"free": CostConfig(), "kept out": CostConfig(zones=zone)}.items():
        player = actor(cost=cost, blocks=4, block_steps=1, samples=400, elites=20, iterations=10)
        state = player.aim(player.initial_state(1), goals)
        features = Corner().encode(torch.from_numpy(seen))
        thought = player.think(features, state, np.random.default_rng(0), temperature=1.0)
        assert thought.foreseen is not None
        inside[name] = int((depth_in(zone, 10.0 * thought.foreseen[0]) > 0).sum())
    assert inside["free"] > 0
    assert inside["kept out"] == 0


def test_it_says_what_the_rest_of_its_plan_costs_by_term():
    player = actor(cost=CostConfig(action=0.5, zones=(0.0, 0.0, 5.0)), execute=2, samples=20)
    state, generator = player.aim(player.initial_state(1), frames((100, 100))), np.random.default_rng(0)
    features = torch.tensor([[8.0, 8.0]])
    first = player.think(features, state, generator, temperature=1.0)
    costs = player.costs_of(features, first.state)
    assert list(costs) == ["goal", "action", "zones"]
    assert first.value is not None
    torch.testing.assert_close(sum(costs.values()), -first.value)  # nothing of it is done yet
    assert costs["action"].item() == pytest.approx(
        0.5 * float((first.state.plan.blocks.square().sum(dim=-1) * 2).sum())
    )
    second = player.think(features, first.state, generator, temperature=1.0)
    assert second.foreseen is not None
    assert second.foreseen.shape[1] == 3  # one of four steps is done
    assert player.costs_of(features, second.state)["action"] < costs["action"]
    assert first.state.plan.doubt is None


class Slips(Corner):
    """Half of all steps do not happen."""

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        return features + actions if uniforms is None else features + actions * (uniforms < 0.5)[:, None]


def test_it_says_how_far_apart_the_outcomes_of_its_plan_are():
    player = actor(Slips(), outcomes=50, samples=20)
    state = player.aim(player.initial_state(1), frames((100, 100)))
    thought = player.think(torch.tensor([[8.0, 8.0]]), state, np.random.default_rng(0), temperature=1.0)
    assert 0.05 < thought.state.plan.doubt.item() < 20.0


def test_anew_it_has_its_goal_and_no_plan():
    player = actor()
    state = player.aim(player.initial_state(1), frames((100, 100)))
    _, going = player.act(frames((1, 1)), state, np.random.default_rng(0), temperature=1.0)
    fresh = player.anew(going)
    assert going.plan is not None
    assert fresh.plan is None
    assert fresh.done == 0
    assert fresh.goal is going.goal
