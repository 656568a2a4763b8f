"""What is remembered, when it is forgotten, and what is known of a state from one like it.

Legend: W walks, H steps, D features.
"""

from __future__ import annotations

from math import exp

import pytest
import torch
from torch import Tensor

from learners.planning.short_term_memory import ShortTermMemory, Walks

YES, NO = torch.tensor(True), torch.tensor(False)
NEAR = torch.tensor(2.0)


def walks(*names: float, steps: int = 2) -> Walks:
    """Two steps of 10 · name + step, which cost as much; the goal is named like the walk."""
    first = torch.tensor(names)
    places = 10.0 * first[:, None] + torch.arange(3)  # (M, H + 1)
    return Walks(
        torch.stack([places, torch.zeros_like(places)], dim=-1),
        torch.stack([first, first], dim=-1),
        places[:, :2].clone(),
        torch.full((len(names),), steps),
        first > 2,
    )


def names(found: Walks) -> list[float]:
    return found.goals[:, 0].tolist()


def test_the_newest_are_kept_each_under_its_time():
    memory = ShortTermMemory(3, 2, 2)
    memory.write(walks(1.0, 2.0), YES)
    memory.write(walks(3.0, 4.0), YES)
    found = memory.at(torch.tensor([3, 1, 2]))
    for kept, expected in zip(found, walks(4.0, 2.0, 3.0), strict=True):
        assert torch.equal(kept, expected)
    assert memory.at(torch.tensor([0, 4, -1])).steps.tolist() == [0, 0, 0]  # forgotten, to come, never


def test_a_step_that_is_not_taken_writes_nothing():
    memory = ShortTermMemory(3, 2, 2)
    memory.write(walks(1.0), YES)
    before = {name: each.clone() for name, each in memory.state_dict().items()}
    memory.write(walks(2.0, 3.0), NO)
    assert all(torch.equal(each, before[name]) for name, each in memory.state_dict().items())


@pytest.mark.parametrize("written", [1, 3, 5])
def test_every_time_that_is_kept_is_drawn_and_no_other(written: int):
    memory = ShortTermMemory(3, 2, 2)
    for name in range(written):
        memory.write(walks(float(name)), YES)
    times = memory.times(torch.linspace(0.0, 0.999, 50))
    assert set(times.tolist()) == set(range(max(0, written - 3), written))
    assert set(names(memory.at(times))) == {float(name) for name in range(max(0, written - 3), written)}


def test_no_walk_has_more_steps_than_it_holds():
    memory = ShortTermMemory(3, 2, 2)
    memory.write(walks(1.0, 2.0), YES)
    memory.steps.copy_(torch.tensor([99, -7, 1]))
    assert memory.at(torch.tensor([0, 1])).steps.tolist() == [2, 0]


def test_nothing_is_drawn_from_an_empty_memory():
    memory = ShortTermMemory(3, 2, 2)
    times = memory.times(torch.tensor([0.0, 0.9]))
    assert times.tolist() == [-1, -1]
    assert memory.at(times).steps.tolist() == [0, 0]


def asked(memory: ShortTermMemory, place: float) -> tuple[float, float]:
    cost, familiar = memory.like(torch.tensor([[place, 0.0]]), NEAR)
    return cost.item(), familiar.item()


def test_what_was_seen_once_is_known_at_once():
    memory = ShortTermMemory(3, 2, 2)
    assert asked(memory, 10.0) == (0.0, 0.0)
    memory.write(walks(1.0), YES)
    other = exp(-0.5 / 2.0)  # the mean over two features of a difference of 1, squared, in `NEAR`
    cost, familiar = asked(memory, 10.0)
    assert familiar == pytest.approx((1 + other) / (2 + other))
    assert cost == pytest.approx((10.0 + 11.0 * other) / (2 + other), rel=1e-5)
    assert asked(memory, 90.0) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_steps_after_a_walks_end_are_not_known():
    memory, ended = ShortTermMemory(3, 2, 2), ShortTermMemory(3, 2, 2)
    memory.write(walks(1.0), YES)
    ended.write(walks(1.0, steps=1), YES)
    assert asked(memory, 11.0)[1] > 0.5 > asked(ended, 11.0)[1]


def test_it_is_kept_with_the_weights():
    memory, other = ShortTermMemory(3, 2, 2), ShortTermMemory(3, 2, 2)
    memory.write(walks(1.0, 2.0), YES)
    other.load_state_dict(memory.state_dict())
    assert not list(memory.parameters())
    expected: Tensor
    for kept, expected in zip(other.at(torch.tensor([1])), walks(2.0), strict=True):
        assert torch.equal(kept, expected)
