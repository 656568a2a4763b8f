"""What a critic is taught, by hand and in a corridor; and how a plan's cost takes it.

Legend: B segments, T steps, D features.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from learners.part import Segments, adam_w
from learners.planning.config import CriticConfig
from learners.planning.cost import ActionSize, Cost, Outlook
from learners.planning.value_critic import UNIFORMS, ValueCritic

LENGTHS = (5, 5, 1, 2)
"""Real steps of four segments of five."""
VALUE, SLOW = 2.0, 8.0
"""What the critic and its copy say of everything."""


def constant(*, has_goals: bool = True, **settings: Any) -> ValueCritic:
    critic = ValueCritic(
        CriticConfig.model_validate({"kind": "time", "hidden": 4, "steps": 2, "discount": 0.5} | settings),
        1,
        has_goals=has_goals,
    )
    for network, value in ((critic.value, VALUE), (critic.slow, SLOW)):
        torch.nn.init.zeros_(network.get_parameter("6.weight"))
        torch.nn.init.constant_(network.get_parameter("6.bias"), value)
    return critic


def segments(rewards: Tensor | None = None, ends: Tensor | None = None) -> Segments:
    """Features of segment b at step t are 10 b + t."""
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    nothing = torch.zeros(4, 5)
    features = (10.0 * torch.arange(4)[:, None] + torch.arange(5)).unsqueeze(-1)
    return Segments(
        nothing,
        nothing if rewards is None else rewards,
        nothing.bool() if ends is None else ends,
        mask,
        {"features": torch.where(mask[..., None], features, 0.0)},
    )


def drawn(coin: float, *own: float, other: float = 0.0) -> Tensor:
    return torch.tensor([[[coin, each, other] for each in own]])


def weighted(targets: list[float], expectile: float = 0.1) -> float:
    """Of the targets that are known, against the constant value."""
    errors = [target - VALUE for target in targets]
    return sum((1 - expectile if error < 0 else expectile) * error**2 for error in errors) / len(errors)


def test_hindsight_counts_steps_to_where_the_walk_came_and_goes_on_from_its_own_estimate():
    """The goal two steps on is reached; four steps on it is not; of one step nothing is known; one step on it is."""
    losses = constant().loss(segments(), drawn(0.9, 0.3, 0.99, 0.5, 0.5))
    targets = [1 + 0.5, 1 + 0.5 + 0.25 * SLOW, 1.0]
    assert losses.terms["value"].value.item() == pytest.approx(weighted(targets))
    assert losses.metrics["over"].item() == pytest.approx(2 / 3)
    assert losses.metrics["value"].item() == pytest.approx(VALUE)
    mean = constant(expectile=0.5).loss(segments(), drawn(0.9, 0.3, 0.99, 0.5, 0.5))
    assert mean.terms["value"].value.item() == pytest.approx(weighted(targets, 0.5))


def test_goals_of_others_are_never_reached():
    losses = constant().loss(segments(), drawn(0.1, 0.0, 0.0, 0.0, 0.0))
    assert losses.terms["value"].value.item() == pytest.approx(
        weighted([1.5 + 0.25 * SLOW, 1.5 + 0.25 * SLOW, 1.0 + 0.5 * SLOW])
    )
    assert losses.metrics["over"].item() == 0


def test_a_cost_is_the_distance_of_what_comes_from_the_goal():
    """Of the last of the segment before each: 0 has 31 (its second of two), 1 has 4, 3 has 20 (its only one)."""
    losses = constant(kind="cost").loss(segments(), drawn(0.1, 0.0, 0.0, 0.0, 0.0, other=0.99))
    targets = [
        (1 - 31) ** 2 + 0.5 * (2 - 31) ** 2 + 0.25 * SLOW,
        (11 - 4) ** 2 + 0.5 * (12 - 4) ** 2 + 0.25 * SLOW,
        (31 - 20) ** 2 + 0.5 * SLOW,
    ]
    assert losses.terms["value"].value.item() == pytest.approx(weighted(targets))


def test_without_goals_rewards_count_until_the_end():
    """0: two rewards, then its estimate; 1: ends with its first step; 2: its only step ends; 3: one step is known."""
    rewards = torch.tensor([[0, 5, 0, 0, 0], [-3, 9, 9, 9, 9], [1, 0, 0, 0, 0], [0, 7, 0, 0, 0]]).float()
    ends = torch.zeros(4, 5, dtype=torch.bool)
    ends[1, 0] = ends[2, 0] = ends[0, 4] = True  # the last of which is beyond what is counted
    given = segments(rewards, ends)
    given.mask[1, 1:] = False  # as an episode ends
    losses = constant(kind="cost", has_goals=False).loss(given, torch.zeros(0, 4, 0))
    targets = [0.0 - 0.5 + 0.25 * SLOW, 1.0, -1.0, 0.0 + 0.5 * SLOW]
    assert losses.terms["value"].value.item() == pytest.approx(weighted(targets))
    assert losses.metrics["over"].item() == 0.5


def corridor(expectile: float) -> Tensor:
    """Steps (8, 8) between the places of a corridor, as a critic tells them who has seen uniform walks."""
    torch.manual_seed(0)
    config = CriticConfig(kind="time", hidden=32, steps=4, discount=0.95, expectile=expectile, reach=16)
    critic = ValueCritic(config, 8, has_goals=True)
    optimizer = adam_w(critic, config.training)
    yes, eye = torch.tensor(True), torch.eye(8)
    for _ in range(400):
        places = [torch.randint(8, (64,))]
        for _ in range(critic.length - 1):
            places.append((places[-1] + 2 * torch.randint(2, (64,)) - 1).clamp(0, 7))
        nothing = torch.zeros(64, critic.length)
        walks = Segments(nothing, nothing, nothing.bool(), ~nothing.bool(), {"features": eye[torch.stack(places, 1)]})
        optimizer.zero_grad()
        critic.loss(walks, torch.rand(1, 64, UNIFORMS)).terms["value"].value.backward()
        optimizer.step()
        critic.follow(yes, {})
    with torch.no_grad():
        return critic(eye[:, None].expand(8, 8, 8), eye)


def test_a_low_expectile_tells_the_shortest_way_of_walks_that_did_not_take_it():
    """Six steps away are (1 − 0.95⁶) / 0.05 = 5.3 discounted ones; uniform walks take longer."""
    shortest, mean = corridor(0.02), corridor(0.5)
    assert 3.0 < shortest[0, 6] < 8.0
    assert mean[0, 6] > 1.5 * shortest[0, 6]
    assert all(near < far for near, far in pairwise(shortest[0, 1:7].tolist()))


def test_the_copy_follows_where_the_step_is_taken_and_no_optimiser_holds_it():
    critic = constant(rate=0.25)
    critic.follow(torch.tensor(False), {})
    assert critic.slow.get_parameter("6.bias").item() == SLOW
    critic.follow(torch.tensor(True), {})
    assert critic.slow.get_parameter("6.bias").item() == 0.75 * SLOW + 0.25 * VALUE
    held = {id(each) for group in adam_w(critic, critic.config.training).param_groups for each in group["params"]}
    assert held == {id(each) for each in critic.value.parameters()}


def test_what_is_to_come_is_added_once_and_not_after_a_foreseen_end():
    features = torch.tensor([0.0, 1.0, 3.0]).reshape(1, 1, 3, 1)
    actions = torch.ones(1, 1, 2, 1)
    half = Outlook(lambda last: 100.0 * last[..., 0], lambda after: (after[..., 0], torch.zeros_like(after[..., 0])))
    for objective, own in (("sum", 2.0), ("last", 1.0)):
        cost = Cost([(1.0, ActionSize())], (), [(2.0, half)], objective)  # pyright: ignore[reportArgumentType]
        assert cost(features, actions).item() == own + 2.0 * 300.0 * 0.25
    sure = Cost([(1.0, ActionSize())], (), [(2.0, Outlook(lambda last: 100.0 * last[..., 0]))])
    assert sure(features, actions).item() == 2.0 + 2.0 * 300.0
