"""The algorithm behind the seam: what it trains on, what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from actors.config import RoomsConfig
from actors.envs.rooms import Rooms
from learners.action_space import Discrete
from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig, PartTraining
from learners.dreaming.policy import PolicyActor
from learners.errors import AlgorithmError
from learners.experience import Chunk
from learners.jepa.config import (
    ActorCriticConfig,
    DecoderConfig,
    HeadsConfig,
    JepaConfig,
    LatentConfig,
    RegulariserConfig,
    WorldModelConfig,
)
from learners.jepa.config import AgentConfig as AgentSettings
from learners.jepa.jepa import Jepa
from learners.learner import Learner
from learners.part import Segments
from learners.planning.actor import PlanningActor
from learners.planning.config import CostConfig, CriticConfig, PlannerConfig, ReflexConfig, UpperConfig
from learners.planning.cost import Costs
from learners.planning.plan import Task
from tests.learners.fakes import make_chunk

SPACE = Rooms(RoomsConfig(), 0, evaluation=False).action_space
TRAINING = PartTraining(starts_after=0, batch_size=8, learning_rate=2e-3)
POLICY = ActorCriticConfig(hidden=8, lstm_size=8, burn_in=2, horizon=4, training=TRAINING)
KINDS = ("vicreg", "ema", "sigreg", "none")


def tiny(kind: str = "vicreg", **regulariser: object) -> JepaConfig:
    return JepaConfig(
        world_model=WorldModelConfig(
            features=16,
            channels=16,
            hidden=16,
            rollout=3,
            regulariser=RegulariserConfig.model_validate({"kind": kind, "directions": 8, **regulariser}),
            training=TRAINING,
        ),
        heads=HeadsConfig(hidden=16, training=TRAINING),
        decoder=DecoderConfig(channels=8, training=TRAINING),
    )


def walk(env: Rooms, generator: np.random.Generator, episode: int) -> Chunk:
    frames, actions = [env.reset()], SPACE.sample(generator, 64)
    steps = [env.step(action) for action in actions]
    frames += [step.frame for step in steps[:-1]]
    return Chunk(
        iteration=1,
        environment=0,
        start=64 * episode,
        policy_version=0,
        frames=np.stack(frames),
        actions=actions,
        rewards=np.zeros(64, np.float32),
        terminated=np.zeros(64, np.bool_),
        truncated=np.array([step.truncated for step in steps]),
        episodes=np.full(64, episode, np.int64),
        episode_steps=np.arange(64, dtype=np.int32),
    )


def learner(config: JepaConfig) -> Learner:
    found = Learner(AgentConfig(config, SPACE), DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    env, generator = Rooms(RoomsConfig(), 0, evaluation=False), np.random.default_rng(0)
    found.extend([walk(env, generator, episode) for episode in range(4)])
    return found


def jepa_of(learner: Learner) -> Jepa:
    assert isinstance(learner.algorithm, Jepa)
    return learner.algorithm


@pytest.mark.parametrize("kind", KINDS)
def test_every_regulariser_trains_and_the_prediction_gets_better(kind: str):
    found = learner(tiny(kind))
    first = found.train("world_model", 1, range(10))
    last = found.train("world_model", 2, range(60))
    assert (
        last["relative_error" if kind != "none" else "loss/prediction"]
        < first["relative_error" if kind != "none" else "loss/prediction"]
    )
    expected = {
        "vicreg": {"variance", "covariance", "similarity", "inverse_dynamics"},
        "ema": {"inverse_dynamics"},
        "sigreg": {"gaussian"},
        "none": set(),
    }
    assert {name.removeprefix("loss/") for name in last if name.startswith("loss/")} == {"prediction"} | expected[kind]


def test_the_teacher_follows_slowly_and_takes_no_gradient():
    found = learner(tiny("ema", rate=0.25))
    model = jepa_of(found).world_model
    assert model.teacher
    fast, slow = (model.get_parameter(f"{name}.layers.0.weight") for name in ("encoder", "teacher"))
    before = slow.clone()
    assert torch.equal(fast, slow)
    found.train("world_model", 1, range(1))
    assert not torch.equal(fast, before)
    torch.testing.assert_close(slow, 0.75 * before + 0.25 * fast)
    assert not slow.requires_grad


def test_a_collapsed_model_is_called_collapsed_and_a_healthy_one_is_not():
    found = learner(tiny())
    found.train("world_model", 1, range(30))
    healthy = found.inspect(1)
    assert healthy.remarks == ()
    assert healthy.metrics["features/mean_std"] > 0.5
    assert 1.0 <= healthy.metrics["features/effective_rank"] <= 16.0
    assert healthy.metrics["features/still_error_24"] > healthy.metrics["features/still_error_1"] > 0.0
    torch.nn.init.zeros_(jepa_of(found).world_model.get_parameter("encoder.layers.8.weight"))
    found.dataset.forget_derived()
    (remark,) = found.inspect(1).remarks
    assert remark.startswith("the world model has collapsed: ")
    assert "standard deviation 0.000" in remark


def test_a_model_that_heeds_no_action_has_sensitivity_one():
    found = learner(tiny())
    jepa_of(found).world_model.get_parameter("predictor.change.0.weight").data[:, -2:] = 0.0
    with torch.no_grad():
        part = found.parts["world_model"]
        rows = found.dataset.newest(part.drawing.length)[:8]
        segments = found.dataset.gather(rows, part.columns)
        losses = part.loss(segments, part.draw_noise(8, torch.Generator()))
    assert losses.metrics["action_sensitivity"].item() == pytest.approx(1.0)


def test_what_is_not_real_changes_nothing():
    """Batch normalisation sees no padding either: it stands for the first frame."""
    found = learner(tiny("sigreg"))
    part = found.parts["world_model"]
    rows = np.array([[1, 2, 3, 4], [62, 63, 64, 0]])
    segments = found.dataset.gather(rows, part.columns)
    noise = part.draw_noise(2, torch.Generator().manual_seed(0))
    plain = part.loss(segments, noise)
    for name in ("frames",):
        segments.columns[name][1, 3] = 99
    again = part.loss(segments, noise)
    for name, term in plain.terms.items():
        assert again.terms[name].value.item() == term.value.item()


def test_ranks_share_sums_but_not_directions():
    tiny("vicreg").check_ranks(4)
    with pytest.raises(ValueError, match=r"found 2, expected 1 with regulariser\.kind sigreg"):
        tiny("sigreg").check_ranks(2)


def test_the_small_model_has_the_size_it_says():
    model = Jepa(JepaConfig(), SPACE).world_model
    assert sum(each.numel() for each in model.encoder.parameters()) == 282_592
    assert sum(each.numel() for each in model.predictor.change.parameters()) == 132_224


def test_heads_and_decoder_learn_from_features_and_change_none():
    found = learner(tiny())
    before = {name: each.clone() for name, each in jepa_of(found).world_model.state_dict().items()}
    for part, name in (("heads", "loss/ends"), ("decoder", "loss/pixels")):
        first = found.train(part, 1, range(10))
        last = found.train(part, 2, range(60))
        assert last[name] < first[name]
    assert all(torch.equal(each, before[name]) for name, each in jepa_of(found).world_model.state_dict().items())
    drawn = jepa_of(found).render(torch.zeros(2, 16))
    assert (drawn.shape, drawn.dtype) == ((2, 3, 64, 64), torch.uint8)


def test_a_place_is_learnt_from_the_colour_it_is_looked_for_in_and_measured_by_depth():
    config = tiny()
    found = learner(config.model_copy(update={"heads": HeadsConfig(hidden=16, place="red", training=TRAINING)}))
    found.train("world_model", 1, range(60))
    first = found.train("heads", 1, range(10))
    last = found.train("heads", 2, range(100))
    assert last["place_error"] < 0.7 * first["place_error"]
    metrics = found.inspect(1).metrics
    assert 0 < metrics["place/error_0"] < metrics["place/error_24"] < 64
    assert metrics["place/linear_r2"] > 0.3
    jepa = jepa_of(found)
    torch.nn.init.zeros_(jepa.world_model.get_parameter("predictor.change.4.weight"))  # it stands still
    stuck = found.inspect(1).metrics
    assert stuck["place/error_0"] == metrics["place/error_0"]
    assert stuck["place/error_24"] != pytest.approx(metrics["place/error_24"])
    frames = found.dataset.gather(np.array([[1, 2]]), ("frames",)).columns["frames"]
    places, is_there = jepa.places_in(frames)
    assert is_there.all()
    assert (places.shape, jepa.place(torch.zeros(3, 4, 16)).shape) == ((1, 2, 2), (3, 4, 2))


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
    assert 1.0 <= last["codes_in_use"] <= 3.0
    jepa = jepa_of(found)
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


def test_an_upper_level_learns_from_features_and_sets_goals():
    upper = UpperConfig(kind="chunks", steps=4, hidden=8, rollout=2, near=2, training=TRAINING)
    found = learner(tiny().model_copy(update={"upper": upper}))
    before = {name: each.clone() for name, each in jepa_of(found).world_model.state_dict().items()}
    assert list(found.parts) == ["world_model", "heads", "decoder", "upper"]
    first = found.train("upper", 1, range(5))
    last = found.train("upper", 2, range(100))
    assert last["relative_error"] < first["relative_error"]
    assert all(torch.equal(each, before[name]) for name, each in jepa_of(found).world_model.state_dict().items())
    jepa, planner = jepa_of(found), PlannerConfig(blocks=2, block_steps=2, levels=2)
    assert jepa.upper
    assert (jepa.upper.low < jepa.upper.high).all()
    assert "upper" in jepa.acting_modules()
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
    with pytest.raises(ValueError, match=r"^upper\.steps: found 10, expected at most 9, those of the longest episode$"):
        JepaConfig(upper=upper, agent=AgentSettings(planner=PlannerConfig(blocks=1))).check_episode(9)
    with pytest.raises(ValidationError, match=r"near: found 31, expected at most rollout × steps, 30"):
        UpperConfig(near=31)


def test_a_critic_learns_from_features_and_is_one_of_the_costs():
    critic = CriticConfig(kind="time", hidden=16, steps=4, reach=8, training=TRAINING)
    found = learner(tiny().model_copy(update={"critic": critic}))
    before = {name: each.clone() for name, each in jepa_of(found).world_model.state_dict().items()}
    assert list(found.parts) == ["world_model", "heads", "decoder", "critic"]
    first = found.train("critic", 1, range(5))
    last = found.train("critic", 2, range(100))
    assert last["loss/value"] < first["loss/value"]
    assert 0 < last["over"] < 0.5
    assert all(torch.equal(each, before[name]) for name, each in jepa_of(found).world_model.state_dict().items())
    jepa, planner = jepa_of(found), PlannerConfig(blocks=1, block_steps=2)
    assert "critic" in jepa.acting_modules()
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
    with pytest.raises(ValueError, match=r"found 2, expected 1 with a critic of goals: they are of the whole"):
        JepaConfig(critic=CriticConfig(kind="cost")).check_ranks(2)
    JepaConfig(agent=by_rewards, critic=CriticConfig(kind="cost")).check_ranks(2)


def test_a_dream_goes_on_as_predicted_and_ends_as_often_as_foreseen():
    jepa = jepa_of(learner(tiny()))
    features = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(1000, 1)
    start = Segments(zeros, zeros, zeros.bool(), ~zeros.bool(), {"features": features.unsqueeze(1)})
    dream, moves = jepa.dream(start), torch.tensor([[4.0, 0.0]]).expand(1000, 2)
    torch.nn.init.constant_(jepa.heads.get_parameter("layers.4.bias"), 0.5)
    noise = torch.rand(1000, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        rewards, ends = dream.step(moves, noise)
        expected = jepa.foresee(features, moves)
        foreseen = jepa.heads(expected)
    assert torch.equal(dream.features[1], expected)
    assert torch.equal(rewards, foreseen[0])
    assert ends.float().mean().item() == pytest.approx(foreseen[1].sigmoid().mean().item(), abs=0.05)


def test_a_policy_learns_in_its_dreams_and_is_who_acts():
    config = tiny().model_copy(update={"agent": AgentSettings(kind="policy", actor_critic=POLICY)})
    found = Learner(AgentConfig(config, Discrete(3)), DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    found.extend([make_chunk([5, 9, 4])])
    assert list(found.parts) == ["world_model", "heads", "decoder", "actor_critic"]
    before = found.weights()
    assert "loss/policy" in found.train("actor_critic", 1, range(2))
    assert (found.weights() != before).any()
    actor = found.algorithm.actor()
    assert isinstance(actor, PolicyActor)
    actions, _ = actor.act(
        np.zeros((2, 3, 64, 64), np.uint8), actor.initial_state(2), np.random.default_rng(0), temperature=1.0
    )
    assert actions.shape == (2,)
