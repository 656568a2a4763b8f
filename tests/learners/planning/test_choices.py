"""Plans of one of several actions: the best of a few sequences is found, drawn or relaxed."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from learners.planning.config import PlannerConfig
from learners.planning.cost import Cost
from learners.planning.plan import Plan, Task
from learners.planning.search import noise_shape, search

WORTH = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 1.0], [0.0, 5.0, 4.5], [1.0, 0.0, 0.0]])
"""Of each action (n = 3) at each of four steps; the best sequence is 2, 0, 2, 0."""


class Clock:
    """Features: how many steps there were, and what the last one was worth; after 1 the next step is worth nothing."""

    def encode(self, frames: Tensor) -> Tensor:
        raise AssertionError

    def predict(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        worth = (WORTH[features[:, 0].long() % 4] * actions).sum(dim=1)
        return torch.stack([features[:, 0] + 1, worth * (1 - features[:, 2]), actions[:, 1]], dim=1)


TASK = Task(Clock(), torch.zeros(2, 3), Cost([(-1.0, lambda features, actions: features[:, :, 1:, 1])]), block_steps=1)


def plan(kind: str, seed: int = 0, warm: Plan | None = None, **settings: Any) -> Plan:
    config = PlannerConfig.model_validate({"kind": kind, "blocks": 4, "block_steps": 1, "min_std": 0.05, **settings})
    noise = torch.randn(noise_shape(config, 2, 3), generator=torch.Generator().manual_seed(seed))
    return search(TASK, config, noise, warm, choices=True)


def best_of_all() -> tuple[list[int], float]:
    costs = {}
    for sequence in product(range(3), repeat=4):
        hard = torch.nn.functional.one_hot(torch.tensor(sequence), 3).float()
        costs[sequence] = TASK.of(hard[None, None].expand(2, 1, 4, 3))[0, 0].item()
    best = min(costs, key=lambda sequence: costs[sequence])
    return list(best), costs[best]


@pytest.mark.parametrize("kind", ["cem", "shooting", "gradient"])
def test_the_best_of_81_sequences_is_found(kind: str):
    expected, cost = best_of_all()
    assert expected == [2, 0, 2, 0]
    found = plan(kind)
    assert found.blocks.argmax(dim=-1).tolist() == [expected, expected]
    assert found.cost.tolist() == [cost, cost]
    assert ((found.blocks == 0) | (found.blocks == 1)).all()
    torch.testing.assert_close(found.odds.sum(dim=-1), torch.ones(2, 4))


def test_cem_leads_to_less_than_shooting_with_as_many_rollouts():
    """Of 6 561 sequences 240 are tried."""
    settings: dict[str, Any] = {"blocks": 8, "samples": 40, "elites": 4, "iterations": 6}
    cem, shooting = (
        sum(plan(kind, seed, **settings).cost.mean() for seed in range(10)) for kind in ("cem", "shooting")
    )
    assert cem < shooting - 5.0


def test_a_plan_that_goes_on_keeps_its_odds_and_knows_nothing_of_the_end():
    found = plan("cem").shifted(1)
    assert (found.odds[:, -1] == 0).all()
    again = plan("cem", seed=3, warm=found, samples=4, elites=1, iterations=1)
    assert again.odds.isfinite().all()


def test_no_action_is_ruled_out_for_good():
    assert (plan("cem", iterations=50).odds >= 0.05 / 3 * 0.9).all()
