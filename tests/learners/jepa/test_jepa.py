"""The algorithm behind the seam: what it trains on, what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actors.config import RoomsConfig
from actors.envs.rooms import Rooms
from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig, PartTraining
from learners.experience import Chunk
from learners.jepa.config import DecoderConfig, HeadsConfig, JepaConfig, RegulariserConfig, WorldModelConfig
from learners.jepa.jepa import Jepa
from learners.learner import Learner

SPACE = Rooms(RoomsConfig(), 0, evaluation=False).action_space
TRAINING = PartTraining(starts_after=0, batch_size=8, learning_rate=2e-3)
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
    model = found.algorithm.world_model
    fast, slow = model.encoder.layers[0].weight, model.teacher.layers[0].weight
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
    torch.nn.init.zeros_(found.algorithm.world_model.encoder.layers[-1].weight)
    found.dataset.forget_derived()
    (remark,) = found.inspect(1).remarks
    assert remark.startswith("the world model has collapsed: ")
    assert "standard deviation 0.000" in remark


def test_a_model_that_heeds_no_action_has_sensitivity_one():
    found = learner(tiny())
    found.algorithm.world_model.predictor.change[0].weight.data[:, -2:] = 0.0
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
    before = {name: each.clone() for name, each in found.algorithm.world_model.state_dict().items()}
    for part, name in (("heads", "loss/ends"), ("decoder", "loss/pixels")):
        first = found.train(part, 1, range(10))
        last = found.train(part, 2, range(60))
        assert last[name] < first[name]
    assert all(torch.equal(each, before[name]) for name, each in found.algorithm.world_model.state_dict().items())
    drawn = found.algorithm.render(torch.zeros(2, 16))
    assert (drawn.shape, drawn.dtype) == ((2, 3, 64, 64), torch.uint8)
