"""A critic, with and without plans that it remembers, and a reflex, as parts of the algorithm; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from learners.action_space import Discrete
from learners.errors import AlgorithmError
from learners.jepa.config import AgentConfig as AgentSettings
from learners.jepa.config import (
    JepaConfig,
    LatentConfig,
)
from learners.jepa.jepa import Jepa
from learners.part import Segments
from learners.planning.actor import PlanningActor
from learners.planning.config import CostConfig, CriticConfig, PlannerConfig, ReflexConfig
from learners.planning.cost import Costs
from learners.planning.plan import Task
from tests.learners.jepa.small import SPACE, TRAINING, jepa_of, learner, tiny, train_alone


def test_a_critic_learns_from_features_and_is_one_of_the_costs():
    critic = CriticConfig(kind="time", hidden=16, steps=4, reach=8, training=TRAINING)
    found = learner(tiny().model_copy(update={"critic": critic}))
    assert 0 < train_alone(found, "critic", "loss/value")["over"] < 0.5
    jepa, planner = jepa_of(found), PlannerConfig(blocks=1, block_steps=2)
    plain, trained = (jepa.planning_actor(planner, CostConfig(critic=weight)) for weight in (0.0, 10.0))
    goals = np.zeros((2, 3, 64, 64), np.uint8)
    goals[:, 0, 30:34, 50:54] = 255
    values = []
    for actor in (plain, trained):
        state = actor.aim(actor.initial_state(2), goals)
        thought = actor.think(torch.randn(2, 16), state, np.random.default_rng(0), temperature=1.0)
        assert thought.value is not None
        values.append(thought.value)
    assert (values[1] < values[0] - 1.0).all()  # so many steps away


def rehearsing(plans: int = 4, **critic: object) -> JepaConfig:
    rehearsal = {"plans": plans, "memory": 32, "planner": {"blocks": 2, "samples": 8, "iterations": 2}}
    settings = {"kind": "time", "hidden": 16, "steps": 4, "reach": 8, "training": TRAINING, "rehearsal": rehearsal}
    agent = AgentSettings(cost=CostConfig(critic=1.0))
    return tiny().model_copy(update={"critic": CriticConfig.model_validate(settings | critic), "agent": agent})


def test_a_critic_that_rehearses_remembers_plans_in_its_part_of_a_commit(tmp_path: Path):
    found, again = learner(rehearsing()), learner(rehearsing())
    report = train_alone(found, "critic", "loss/value")
    assert report["loss/planned"] > 0
    rehearsal = jepa_of(found).rehearsal
    assert rehearsal is not None
    assert rehearsal.memory.written.item() == 4 * 105
    assert rehearsal.memory.at(torch.tensor([4 * 105 - 1])).steps.item() > 0
    acting = jepa_of(found).acting_modules()["critic"]
    assert acting is jepa_of(found).critic  # who acts does not carry the memory
    found.save(str(tmp_path))
    again.load(str(tmp_path))
    for each in (found, again):
        each.train("critic", 3, range(3))
    restored = jepa_of(again).rehearsal
    assert restored is not None
    for name, kept in rehearsal.state_dict().items():
        assert torch.equal(kept, restored.state_dict()[name]), name


def test_what_cannot_be_rehearsed_is_refused():
    quasimetric = CriticConfig.model_validate({"kind": "quasimetric", "rehearsal": {"plans": 2}})
    by_rewards = AgentSettings(cost=CostConfig(goal=0.0, reward=1.0, critic=1.0))
    of_cost = CriticConfig.model_validate({"kind": "cost", "rehearsal": {"plans": 2}})
    for settings in ({"critic": quasimetric}, {"critic": of_cost, "agent": by_rewards}):
        with pytest.raises(ValidationError, match=r"critic\.rehearsal\.plans: found 2, expected 0 without a critic of"):
            JepaConfig.model_validate(settings)
    many = CriticConfig.model_validate({"kind": "time", "rehearsal": {"plans": 257}})
    with pytest.raises(ValidationError, match=r"rehearsal\.plans: found 257, expected at most critic\.training\.batch"):
        JepaConfig(critic=many)
    with pytest.raises(ValidationError, match=r"plans: found 2, expected at most memory, 1"):
        CriticConfig.model_validate({"rehearsal": {"plans": 2, "memory": 1}})
    large = CriticConfig.model_validate({"kind": "time", "rehearsal": {"plans": 9, "planner": {"samples": 10_000}}})
    with pytest.raises(
        ValidationError, match=r"critic\.rehearsal: plans × samples .*: found 2,880,000, expected at most"
    ):
        JepaConfig(critic=large)
    longer = AgentSettings(planner=PlannerConfig(blocks=1, block_steps=4))
    config = JepaConfig(critic=CriticConfig.model_validate({"kind": "time", "rehearsal": {"plans": 2}}), agent=longer)
    config.check_episode(12)
    with pytest.raises(
        ValueError, match=r"rehearsal\.planner\.blocks × .*: found a plan of 12 steps, expected at most"
    ):
        config.check_episode(11)
    mppi = CriticConfig.model_validate({"kind": "time", "rehearsal": {"plans": 2, "planner": {"kind": "mppi"}}})
    with pytest.raises(AlgorithmError, match=r"planner mppi: found one of several actions"):
        Jepa(JepaConfig(critic=mppi), Discrete(3))


def test_a_reflex_learns_from_plans_by_the_agents_cost():
    reflex = ReflexConfig(kind="distilled", hidden=16, rollout=1, training=TRAINING)
    planner = PlannerConfig(kind="reflex", blocks=2, block_steps=2, samples=8, elites=2, iterations=2)
    config = tiny().model_copy(update={"reflex": reflex, "agent": AgentSettings(planner=planner)})
    found = learner(config)
    assert list(found.parts) == ["world_model", "heads", "decoder", "reflex"]
    found.train("world_model", 1, range(20))
    part, jepa = found.parts["reflex"], jepa_of(found)
    segments = found.dataset.gather(np.array([[3], [70], [140]]), part.columns)
    noise = part.draw_noise(3, torch.Generator().manual_seed(0))
    features = segments.columns["features"][:, 0]
    goals = features[[2, 0, 1]]  # where the one before is
    assert jepa.reflex
    task = Task(jepa.world_model, features, Costs(CostConfig(), jepa.heads).to(goals, "sum"), 2)
    assert part.loss(segments, noise).terms["plans"].value == jepa.reflex.loss(task, goals, noise).terms["plans"].value
    first = found.train("reflex", 1, range(5))
    last = found.train("reflex", 2, range(100))
    assert last["loss/plans"] < first["loss/plans"]
    actor = jepa_of(found).actor()
    assert isinstance(actor, PlanningActor)
    frames = np.zeros((2, 3, 64, 64), np.uint8)
    aimed = actor.aim(actor.initial_state(2), frames)
    actions, _ = actor.act(frames, aimed, np.random.default_rng(0), temperature=1.0)
    with torch.no_grad():
        features = jepa_of(found).observe(torch.from_numpy(frames))
        expected = jepa_of(found).acting_modules()["reflex"](features, features)
    np.testing.assert_allclose(actions, 4.0 * expected.numpy(), atol=1e-5)


def test_a_reflex_is_taught_by_plans_over_as_many_outcomes_as_the_agents():
    model = tiny().world_model.model_copy(update={"latent": LatentConfig(codes=3)})
    reflex = ReflexConfig(kind="distilled", hidden=16, rollout=0, training=TRAINING)
    planner = PlannerConfig(guess=True, blocks=2, block_steps=2, samples=8, elites=2, iterations=2, outcomes=3)
    config = tiny().model_copy(update={"world_model": model, "reflex": reflex})
    losses = []
    for spread in (0.0, 5.0):
        settings = AgentSettings(planner=planner.model_copy(update={"spread": spread}))
        part = learner(config.model_copy(update={"agent": settings})).parts["reflex"]
        assert part.noise == (1, 1 + 2 * 8 * 2 * 2 + 3 * 4)
        features = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0))
        nothing = torch.zeros(4, 1)
        segments = Segments(torch.zeros(4, 1, 2), nothing, nothing.bool(), ~nothing.bool(), {"features": features})
        noise = part.draw_noise(4, torch.Generator().manual_seed(0))
        other = noise.clone()
        other[..., -12:] = 1.0 - other[..., -12:]
        losses += [part.loss(segments, each).terms["plans"].value.item() for each in (noise, other)]
    assert len(set(losses)) == 4


def test_a_reflex_without_what_it_is_taught_is_refused_and_one_by_rewards_has_no_goals():
    reflex = ReflexConfig(kind="distilled")
    by_rewards = AgentSettings(cost=CostConfig(goal=0.0, reward=1.0), planner=PlannerConfig(guess=True))
    assert not Jepa(JepaConfig(reflex=reflex, agent=by_rewards), Discrete(3)).acting_modules()["reflex"].has_goals
    for asking in (PlannerConfig(kind="reflex"), PlannerConfig(guess=True)):
        with pytest.raises(
            ValidationError, match=r"agent\.planner: found one that asks a reflex, expected none with re"
        ):
            JepaConfig(agent=AgentSettings(planner=asking))
        with pytest.raises(AlgorithmError, match=r"^planner: found one that asks a reflex, expected none with re"):
            Jepa(tiny(), SPACE).planning_actor(asking, CostConfig())
    with pytest.raises(AlgorithmError, match=r"planner reflex: found another cost than it was taught by, expected the"):
        Jepa(JepaConfig(reflex=reflex), SPACE).planning_actor(PlannerConfig(kind="reflex"), CostConfig(action=1.0))
    with pytest.raises(AlgorithmError, match=r"planner mppi: found one of several actions, expected numbers"):
        Jepa(JepaConfig(reflex=ReflexConfig(kind="distilled", teacher="mppi")), Discrete(3))
    alone = TRAINING.model_copy(update={"batch_size": 1})
    for name, taught in {"reflex": reflex, "critic": CriticConfig(kind="time")}.items():
        with pytest.raises(ValidationError, match=rf"{name}\.training\.batch_size: found 1, expected at least 2"):
            JepaConfig.model_validate({name: taught.model_copy(update={"training": alone})})
    with pytest.raises(ValueError, match=r"found 2, expected 1 with a reflex of goals"):
        JepaConfig(reflex=reflex).check_ranks(2)


def test_a_critic_without_what_it_is_of_is_refused():
    with pytest.raises(ValidationError, match=r"agent\.cost\.critic: found a weight, expected 0 with critic\.kind"):
        JepaConfig(agent=AgentSettings(cost=CostConfig(critic=1.0)))
    with pytest.raises(AlgorithmError, match=r"^critic: found a weight, expected 0 with critic\.kind none"):
        Jepa(tiny(), SPACE).planning_actor(PlannerConfig(), CostConfig(critic=1.0))
    by_rewards = AgentSettings(cost=CostConfig(goal=0.0, reward=1.0, critic=1.0))
    with pytest.raises(ValidationError, match=r"critic\.kind: found time, expected cost or none with agent\.cost"):
        JepaConfig(agent=by_rewards, critic=CriticConfig(kind="time"))
    for weights in ({"goal": 1.0, "reward": 1.0}, {"goal": 0.0, "action": 1.0}):
        with pytest.raises(ValidationError, match=r"agent\.cost: found goal . and reward ., expected one of them"):
            JepaConfig(agent=AgentSettings(cost=CostConfig.model_validate(weights)), critic=CriticConfig(kind="cost"))
    JepaConfig(critic=CriticConfig(kind="time", steps=9)).check_training_episode(9)
    with pytest.raises(
        ValueError, match=r"^critic\.steps: found 10, expected at most 9, those of the longest training"
    ):
        JepaConfig(critic=CriticConfig(kind="time")).check_training_episode(9)
    with pytest.raises(ValueError, match=r"found 2, expected 1 with a critic of goals: they are of the whole"):
        JepaConfig(critic=CriticConfig(kind="cost")).check_ranks(2)
    JepaConfig(agent=by_rewards, critic=CriticConfig(kind="cost")).check_ranks(2)


def test_what_was_learnt_with_goals_is_not_asked_without_and_the_other_way_round():
    critic = CriticConfig(kind="cost", hidden=16, training=TRAINING)
    reflex = ReflexConfig(kind="distilled", hidden=16, training=TRAINING)
    by_rewards = AgentSettings(cost=CostConfig(goal=0.0, reward=1.0, critic=1.0))
    settings = {"critic": critic, "reflex": reflex}
    of_rewards = Jepa(tiny().model_copy(update={**settings, "agent": by_rewards}), SPACE)
    with pytest.raises(
        AlgorithmError, match=r"^cost\.goal: found a weight, expected 0 beside a critic that has learnt"
    ):
        of_rewards.planning_actor(PlannerConfig(), CostConfig(critic=1.0))
    guess = PlannerConfig(guess=True)
    with pytest.raises(AlgorithmError, match=r"^cost\.goal: found a weight, expected as it was when the reflex was"):
        of_rewards.planning_actor(guess, CostConfig())
    of_goals = Jepa(tiny().model_copy(update=settings), SPACE)
    with pytest.raises(AlgorithmError, match=r"^cost\.goal: found 0, expected as it was when the reflex was taught"):
        of_goals.planning_actor(guess, CostConfig(goal=0.0, critic=1.0))
    alone = of_goals.planning_actor(PlannerConfig(blocks=1), CostConfig(goal=0.0, critic=1.0))
    goals = np.zeros((1, 3, 64, 64), np.uint8)
    thought = alone.think(
        torch.zeros(1, 16), alone.aim(alone.initial_state(1), goals), np.random.default_rng(0), temperature=1.0
    )
    assert list(alone.costs_of(torch.zeros(1, 16), thought.state)) == ["critic"]
