"""The algorithm behind the seam: what it trains on, what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learners.action_space import Discrete
from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig
from learners.dreaming.policy import PolicyActor
from learners.jepa.config import AgentConfig as AgentSettings
from learners.jepa.config import HeadsConfig, JepaConfig
from learners.jepa.jepa import Jepa
from learners.learner import Learner
from learners.part import Segments
from tests.learners.fakes import make_chunk
from tests.learners.jepa.small import KINDS, POLICY, SPACE, TRAINING, jepa_of, learner, tiny


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
    assert healthy.metrics["features/effective_rank"] > 2.0
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
