"""Actions that nothing seen decides: uniform, or half of the time the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actors.blind import BlindConfig, leaning, standing_still, uniform
from learners.action_space import Actions, ActionSpace, Box, Discrete
from learners.algorithm import Agent, AgentConfig

NUM_ACTIONS, EPISODES = 4, 20_000
BUTTONS = Discrete(NUM_ACTIONS)
BOX = Box((-1.0, 2.0), (3.0, 4.0))


def actions(weights: np.ndarray, seed: int = 0, value: int = 0, space: ActionSpace = BUTTONS) -> Actions:
    """Of one step in many episodes, all frames of which are filled with a value."""
    agent = Agent(AgentConfig(BlindConfig(), space), torch.device("cpu"))
    agent.load(weights)
    frames = np.broadcast_to(np.uint8(value), (EPISODES, 3, 64, 64))
    state, rng = agent.actor.initial_state(EPISODES), np.random.default_rng(seed)
    return agent.act(frames, state, rng, epsilon=0.0, temperature=1.0)[0]


@pytest.mark.parametrize(
    ("weights", "odds"),
    [
        (uniform(Discrete(4)), [0.25] * 4),
        (leaning(4, 2), [0.125, 0.125, 0.625, 0.125]),
        (leaning(4, 0), [0.625] + [0.125] * 3),
    ],
)
def test_every_episode_draws_its_own_action_and_leans_half_of_the_time(weights: np.ndarray, odds: list[float]):
    """A coin for all episodes at once would make of these shares 1 or a quarter."""
    shares = np.bincount(actions(weights), minlength=NUM_ACTIONS) / EPISODES
    errors = [(share * (1 - share) / EPISODES) ** 0.5 for share in odds]
    assert [abs(found - share) < 4 * error for found, share, error in zip(shares, odds, errors, strict=True)] == [
        True
    ] * 4


def test_what_is_seen_changes_nothing_and_another_stream_everything():
    first = actions(uniform(Discrete(4)))
    assert (actions(uniform(Discrete(4)), value=255) == first).all()
    assert (actions(uniform(Discrete(4)), seed=1) != first).any()


def test_in_a_box_play_is_uniform_or_stands_still():
    drawn = actions(uniform(BOX), space=BOX)
    widths = np.array(BOX.high) - np.array(BOX.low)
    assert np.quantile(drawn, [0.0, 0.25, 0.5, 0.75, 1.0], axis=0) == pytest.approx(
        BOX.low + np.array([0.0, 0.25, 0.5, 0.75, 1.0])[:, None] * widths, abs=0.05
    )
    still = actions(standing_still(), space=BOX)
    assert still.dtype == np.float32
    assert (still == [1.0, 3.0]).all()
