"""What the agent plans with, learnt beside the model: outcomes and an upper level; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from learners.action_space import Discrete
from learners.errors import AlgorithmError
from learners.jepa.config import AgentConfig as AgentSettings
from learners.jepa.config import (
    HeadsConfig,
    JepaConfig,
    LatentConfig,
    WorldModelConfig,
)
from learners.jepa.jepa import Jepa
from learners.jepa.losses import chances
from learners.planning.actor import PlanningActor
from learners.planning.config import CostConfig, CriticConfig, PlannerConfig, ReflexConfig, UpperConfig
from tests.learners.jepa.small import SPACE, TRAINING, jepa_of, learner, tiny, train_alone


def test_without_a_place_there_are_no_zones():
    cost = CostConfig(zones=(1.0, 2.0, 3.0))
    with pytest.raises(ValidationError, match=r"agent\.cost\.zones: found some, expected none with heads\.place none"):
        JepaConfig(agent=AgentSettings(cost=cost))
    with pytest.raises(AlgorithmError, match=r"zones: found some, expected none with heads\.place none"):
        Jepa(tiny(), SPACE).planning_actor(PlannerConfig(), cost)
    assert Jepa(JepaConfig(heads=HeadsConfig(place="red"), agent=AgentSettings(cost=cost)), SPACE).actor()


def test_what_cannot_be_planned_or_learnt_is_refused():
    mppi = AgentSettings(planner=PlannerConfig(kind="mppi"))
    with pytest.raises(AlgorithmError, match=r"planner mppi: found one of several actions, expected numbers"):
        Jepa(JepaConfig(agent=mppi), Discrete(3))
    with pytest.raises(AlgorithmError, match=r"jepa with agent\.kind policy: found actions of 2 numbers"):
        Jepa(JepaConfig(agent=AgentSettings(kind="policy")), SPACE)
    alone = TRAINING.model_copy(update={"batch_size": 1})
    with pytest.raises(
        ValidationError, match=r"world_model\.training\.batch_size: found 1, expected at least 2 with v"
    ):
        JepaConfig(world_model=WorldModelConfig(training=alone))


def test_a_model_of_several_outcomes_learns_which_and_how_likely():
    several = tiny().world_model.model_copy(update={"latent": LatentConfig(codes=3)})
    found = learner(tiny().model_copy(update={"world_model": several}))
    first = found.train("world_model", 1, range(10))
    last = found.train("world_model", 2, range(60))
    assert {"loss/prior", "loss/idle"} < set(last)
    assert "loss/prior" not in learner(tiny()).train("world_model", 1, range(1))
    assert last["relative_error"] < first["relative_error"]
    jepa, part = jepa_of(found), found.parts["world_model"]
    segments = found.dataset.gather(np.arange(1, 9).reshape(2, 4), part.columns)
    features = jepa.observe(segments.columns["frames"].flatten(0, 1)).unflatten(0, (2, 4))
    turns = chances(jepa.world_model.outcomes, features, segments.actions / 4.0, features)
    shares = torch.bincount(turns.codes.flatten(), minlength=3) / 6
    in_use = part.loss(segments, torch.zeros(0)).metrics["codes_in_use"]
    torch.testing.assert_close(in_use, torch.special.entr(shares).sum().exp())
    assert in_use > 1.0
    assert jepa.noise_per_step == 2
    planner = PlannerConfig(blocks=2, block_steps=2, outcomes=3, spread=1.0)
    with pytest.raises(
        AlgorithmError, match=r"^planner\.outcomes: found 3, expected 1 with world_model\.latent\.codes 1"
    ):
        Jepa(tiny(), SPACE).planning_actor(planner, CostConfig())
    with pytest.raises(ValidationError, match=r"agent\.planner\.outcomes: found 3, expected 1 with world_model\.late"):
        JepaConfig(agent=AgentSettings(planner=planner))
    with pytest.raises(ValidationError, match=r"spread: found 1, expected 0 with one outcome: it has none"):
        PlannerConfig(spread=1.0)
    goals = np.full((2, 3, 64, 64), 9, np.uint8)
    values = []
    for each in (planner, planner, planner.model_copy(update={"outcomes": 1, "spread": 0.0})):
        actor = jepa.planning_actor(each, CostConfig())
        state = actor.aim(actor.initial_state(2), goals)
        thought = actor.think(torch.zeros(2, 16), state, np.random.default_rng(0), temperature=1.0)
        assert thought.value is not None
        values.append(thought.value)
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_with_a_teacher_that_code_counts_which_comes_nearest_to_what_the_teacher_sees():
    model = tiny("ema").world_model.model_copy(update={"latent": LatentConfig(codes=3), "rollout": 1})
    found = learner(tiny("ema").model_copy(update={"world_model": model}))
    world_model, part = jepa_of(found).world_model, found.parts["world_model"]
    assert world_model.teacher
    torch.nn.init.normal_(
        world_model.teacher.get_parameter("layers.8.bias"), generator=torch.Generator().manual_seed(0)
    )
    segments = found.dataset.gather(np.arange(1, 41).reshape(20, 2), part.columns)
    first, second = segments.columns["frames"].unbind(1)
    with torch.no_grad():
        every = world_model.outcomes(world_model.encode(first), segments.actions[:, 0] / 4.0)
        errors = (every - world_model.teacher(second).unsqueeze(1)).square().mean(dim=-1)
        found_error = part.loss(segments, torch.zeros(0)).terms["prediction"].value
    torch.testing.assert_close(found_error, errors.min(dim=1).values.mean())


def test_heads_learn_of_a_last_step_by_its_likeliest_outcome():
    model = tiny().world_model.model_copy(update={"latent": LatentConfig(codes=3)})
    jepa = jepa_of(learner(tiny().model_copy(update={"world_model": model})))
    generator = torch.Generator().manual_seed(0)
    features, actions = torch.randn(40, 4, 16, generator=generator), torch.rand(40, 4, 2, generator=generator)
    mask = torch.ones(40, 4, dtype=torch.bool)
    mask[:20, 2:] = False
    features[:20, 2:] = 0.0  # where nothing is stored
    with torch.no_grad():
        found = jepa._codes(features, actions, mask)
        seen = chances(jepa.world_model.outcomes, features, actions, features).codes
        assert jepa.world_model.prior
        likeliest = jepa.world_model.prior(torch.cat([features, actions], dim=-1)).argmax(dim=-1)
    assert found is not None
    assert torch.equal(found[20:], seen[20:])
    assert torch.equal(found[:20, 0], seen[:20, 0])
    assert torch.equal(found[:20, 1], likeliest[:20, 1])
    assert (likeliest[:20, 1] != seen[:20, 1]).any()


def test_an_upper_level_learns_from_features_and_sets_goals():
    upper = UpperConfig(kind="chunks", steps=4, hidden=8, rollout=2, near=2, training=TRAINING)
    found = learner(tiny().model_copy(update={"upper": upper}))
    train_alone(found, "upper", "error_over_still")
    jepa, planner = jepa_of(found), PlannerConfig(blocks=2, block_steps=2, levels=2)
    assert jepa.upper
    assert (jepa.upper.low < jepa.upper.high).all()
    actor = jepa.planning_actor(planner, CostConfig())
    state = actor.aim(actor.initial_state(2), np.full((2, 3, 64, 64), 9, np.uint8))
    thought = actor.think(torch.zeros(2, 16), state, np.random.default_rng(0), temperature=1.0)
    assert thought.beyond is not None
    assert thought.beyond.shape == (2, 6, 16)


def test_an_upper_level_that_is_not_there_or_has_no_goal_is_refused():
    two, by_rewards = PlannerConfig(levels=2), CostConfig(goal=0.0, reward=1.0)
    with pytest.raises(ValidationError, match=r"agent\.planner\.levels: found 2, expected 1 with upper\.kind none"):
        JepaConfig(agent=AgentSettings(planner=two))
    with pytest.raises(AlgorithmError, match=r"^planner\.levels: found 2, expected 1 with upper\.kind none: there"):
        Jepa(tiny(), SPACE).planning_actor(two, CostConfig())
    upper = UpperConfig(kind="chunks")
    with pytest.raises(ValidationError, match=r"agent\.planner\.levels: found 2, expected 1 with agent\.cost\.goal 0"):
        JepaConfig(upper=upper, agent=AgentSettings(planner=two, cost=by_rewards))
    with pytest.raises(AlgorithmError, match=r"^planner\.levels: found 2, expected 1 without a weight of the goal's"):
        Jepa(JepaConfig(upper=upper), SPACE).planning_actor(two, by_rewards)
    with pytest.raises(ValueError, match=r"found 2, expected 1 with an upper level: the extent of codes is of"):
        JepaConfig(upper=upper).check_ranks(2)
    short = JepaConfig(upper=upper, agent=AgentSettings(planner=PlannerConfig(blocks=1)))
    short.check_episode(60)
    with pytest.raises(
        ValueError, match=r"^agent\.upper\.blocks × upper\.steps: found a plan of 60 steps, expected at m"
    ):
        short.check_episode(59)
    short.check_training_episode(11)
    with pytest.raises(
        ValueError, match=r"^upper\.steps: found 10, expected less than 10, the steps of the longest tr"
    ):
        short.check_training_episode(10)
    far = JepaConfig(upper=UpperConfig(kind="chunks", near=25))
    with pytest.raises(
        ValueError, match=r"^upper\.near: found 25, expected less than 25, the steps of the longest tra"
    ):
        far.check_training_episode(25)
    with pytest.raises(ValidationError, match=r"near: found 31, expected at most rollout × steps, 30"):
        UpperConfig(near=31)
    with pytest.raises(ValidationError, match=r"rollout × steps: found 1,000,000, expected at most 1,000"):
        UpperConfig(rollout=1000, steps=1000)


def test_who_aims_at_nothing_heeds_no_goal():
    """A critic and a reflex by rewards alone, in a game that shows goals."""
    agent = AgentSettings(
        cost=CostConfig(goal=0.0, reward=1.0, critic=1.0),
        planner=PlannerConfig(guess=True, blocks=1, block_steps=1, samples=4, elites=2, iterations=1),
    )
    config = tiny().model_copy(
        update={"critic": CriticConfig(kind="cost"), "reflex": ReflexConfig(kind="distilled"), "agent": agent}
    )
    actor, frames = Jepa(config, SPACE).actor(), np.zeros((2, 3, 64, 64), np.uint8)
    assert isinstance(actor, PlanningActor)
    state = actor.aim(actor.initial_state(2), frames)
    actions, _ = actor.act(frames, state, np.random.default_rng(0), temperature=1.0)
    assert actions.shape == (2, 2)


def test_what_costs_are_made_of_is_learnt_by_its_own_part_alone():
    """The intrinsic cost is immutable: features, heads and goals are what they are, whoever learns by it."""
    config = JepaConfig(critic=CriticConfig(kind="time"), reflex=ReflexConfig(kind="distilled"))
    held = [{id(each) for each in part.module.parameters()} for part in Jepa(config, SPACE).parts]
    assert len(held) == 5
    assert sum(map(len, held)) == len(set.union(*held))
