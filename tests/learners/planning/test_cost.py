"""What predicted steps cost, term by term.

Legend: E environments, N candidates, H steps, D features.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learners.planning.config import TERMS, CostConfig, CriticConfig
from learners.planning.cost import Costs
from learners.planning.value_critic import ValueCritic


def heads(features: Tensor) -> tuple[Tensor, Tensor]:
    return features[..., 0], features[..., 1]


def critic(*, has_goals: bool = True) -> ValueCritic:
    torch.manual_seed(0)
    kind = "time" if has_goals else "cost"
    return ValueCritic(CriticConfig(kind=kind, hidden=4), 2, has_goals=has_goals)


ALL = CostConfig(
    goal=1.0, action=2.0, smoothness=3.0, reward=4.0, end=5.0, critic=6.0, zones=(0.0, 0.0, 9.0), zone_margin=1.0
)


@pytest.mark.parametrize("objective", ["sum", "last"])
def test_apart_the_terms_add_up_to_the_whole(objective: str):
    torch.manual_seed(1)
    features, actions, goals = torch.randn(2, 3, 5, 2), torch.randn(2, 3, 4, 2), torch.randn(2, 2)
    costs = Costs(ALL, heads, critic(), lambda where: where)
    alone = {name: each.to(goals, objective)(features, actions) for name, each in costs.apart().items()}  # type: ignore[arg-type]
    assert list(alone) == [*TERMS, "zones"]
    assert all((each != 0).any() for each in alone.values())
    whole = costs.to(goals, objective)(features, actions)  # type: ignore[arg-type]
    torch.testing.assert_close(sum(alone.values()), whole)


def test_what_does_not_count_is_no_part_of_it():
    assert list(Costs(CostConfig(action=0.1), heads).apart()) == ["goal", "action"]


def test_it_aims_if_a_term_is_of_goals():
    nothing = CostConfig(goal=0.0, reward=1.0)
    assert not Costs(nothing, heads).aims
    assert Costs(CostConfig(), heads).aims
    by_critic = nothing.with_weights({"critic": 1.0})
    assert Costs(by_critic, heads, critic()).aims
    assert not Costs(by_critic, heads, critic(has_goals=False)).aims
    assert not Costs(nothing, heads, critic()).aims


def test_weights_that_are_named_change_and_others_stay():
    changed = ALL.with_weights({"goal": 0.0, "critic": 7})
    assert (changed.goal, changed.critic, changed.action, changed.zones) == (0.0, 7, 2.0, ALL.zones)
    for wrong, says in (
        ({"zones": 1.0}, "the term 'zones'"),
        ({"goal": float("nan")}, "goal = nan"),
        ({"end": 2e6}, "end = 2e"),
    ):
        with pytest.raises(ValueError, match=f"^cost: found {says}"):
            ALL.with_weights(wrong)
