"""Each measurement against a world small enough to know the answer."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.config import DatasetConfig, LearnerConfig
from learners.dreaming.calibration import calibrate
from learners.dreaming.dream_error import MAX_DEPTH, DreamError, measure_dreams
from learners.dreaming.value_head import ScalarValue
from learners.inspection import Chart, Film
from learners.learner import Learner
from learners.part import Segments
from tests.learners.fakes import TINY_AGENT, TINY_IRIS, make_chunk, with_tiny


class Recall:
    """A world model whose dreams show frame `10 e + k + drift · depth` where episode e's frame k began."""

    dream_columns = ("frames",)
    noise_per_step = 1

    def __init__(self, drift: int = 0) -> None:
        self.drift = drift

    def dream(self, context: Segments) -> "RecalledDream":
        assert context.mask.shape[1] == 1
        assert context.mask.all()
        return RecalledDream(context.columns["frames"][:, 0], self.drift)

    def render(self, features: Tensor) -> Tensor:
        return features

    def context_features(self, context: Segments) -> Tensor:
        return context.columns["frames"].float()

    def dreamt_rewards(self, rewards: Tensor) -> Tensor:
        return rewards.clamp(-1, 1)


class RecalledDream:
    def __init__(self, first: Tensor, drift: int) -> None:
        self.features, self.drift = [first], drift

    def step(self, actions: Tensor, noise: Tensor) -> None:
        self.features.append(self.features[-1] + 1 + self.drift)  # the next real frame is one brighter


def learner(lengths: list[int]) -> Learner:
    learner = Learner(TINY_AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    learner.extend([make_chunk([4, 3], first_episode=50, iteration=1), make_chunk(lengths, iteration=2)])
    return learner


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("drift", [0, 3])
def test_a_dream_is_as_wrong_as_it_drifts(drift: int):
    dataset = learner([5, 9, 4]).dataset
    error = measure_dreams(Recall(drift), dataset, generator())  # type: ignore[arg-type]
    depths = np.arange(9)
    np.testing.assert_allclose(error.imagined, drift * depths / 255)
    np.testing.assert_allclose(error.still, depths / 255)
    assert error.starts.tolist() == [3, 3, 3, 3, 2, 1, 1, 1, 1]


def test_only_new_steps_are_dreamt_from_and_no_deeper_than_asked():
    dataset = learner([60]).dataset
    error = measure_dreams(Recall(), dataset, generator())  # type: ignore[arg-type]
    assert len(error.imagined) == MAX_DEPTH + 1
    assert error.starts.tolist() == [3] * 18 + [2] * 3  # 60 = 21 + 21 + 18


def test_reported_are_the_depths_that_were_reached():
    zeros = np.zeros(7)
    assert set(DreamError(zeros, zeros, zeros.astype(int)).metrics()) == {
        f"dream/{kind}_error_{depth}" for kind in ("pixel", "still") for depth in (1, 5)
    }


class Counting:
    """Values 0, 1, 2 … along an episode."""

    value = ScalarValue(1)

    def initial_state(self, batch_size: int) -> None:
        assert batch_size == 1

    def unroll(self, features: Tensor, state: None) -> tuple[None, Tensor]:
        return None, torch.arange(features.shape[1], dtype=torch.float32)[None]


def test_values_stand_beside_the_discounted_rewards_that_came():
    dataset = learner([2, 3, 4]).dataset  # the last one is unfinished, and so is episode 51
    segment = dataset.gather(dataset.finished_episodes(9, 9), ())
    rewards = segment.rewards.clamp(-1, 1).double().tolist()
    found = calibrate(Recall(), Counting(), dataset, 0.5)  # type: ignore[arg-type]
    assert found is not None
    expected = []
    for episode, length in zip(rewards, (4, 2, 3), strict=True):
        expected += [sum(0.5**k * episode[t + k] for k in range(length - t)) for t in range(length)]
    np.testing.assert_allclose(found.returns, expected)
    assert found.values.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2]
    metrics = found.metrics()
    assert metrics["value/predicted_mean"] == found.values.mean()
    residual = np.var(np.array(expected) - found.values) / np.var(expected)
    assert math.isclose(metrics["value/explained_variance"], 1 - residual)


def test_no_episode_that_ended_is_no_calibration():
    fresh = Learner(TINY_AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    fresh.extend([make_chunk([5])])
    assert calibrate(Recall(), Counting(), fresh.dataset, 0.5) is None  # type: ignore[arg-type]


def test_held_out_metrics_are_those_of_the_newest_steps_alone():
    """A part's own loss on them, whatever was stored before."""
    both, alone = learner([5, 9, 4]), Learner(TINY_AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    alone.extend([make_chunk([5, 9, 4], iteration=2)])
    found, expected = (each.inspect(2).metrics for each in (both, alone))
    names = {name for name in found if name.startswith("held_out/")}
    assert {"held_out/tokenizer/pixel_error", "held_out/world_model/token_accuracy"} <= names
    assert {name: found[name] for name in names} == pytest.approx({name: expected[name] for name in names}, rel=1e-5)
    segments = both.dataset.gather(both.dataset.newest(3), ("tokens",))
    losses = both.parts["world_model"].loss(segments, torch.empty(0))
    assert found["held_out/world_model/end_accuracy"] == pytest.approx(float(losses.metrics["end_accuracy"]))


def test_without_new_steps_nothing_is_held_out():
    inspection = learner([5, 9, 4]).inspect(3)
    chart = inspection.pictures["measurements"]
    assert isinstance(chart, Chart)
    assert [panel.title for panel in chart.panels] == ["values of real episodes"]
    assert {name.split("/")[0] for name in inspection.metrics} == {"value"}


def test_measuring_a_tokenizer_needs_no_perceptual_weights():
    """Before it trains for the first time, a run does not ask for them."""
    tokenizer = TINY_IRIS.tokenizer.model_copy(update={"perceptual": "vgg16", "perceptual_weights": "nowhere"})
    fresh = Learner(with_tiny(tokenizer=tokenizer), DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    fresh.extend([make_chunk([5, 9, 4])])
    assert "held_out/tokenizer/pixel_error" in fresh.inspect(1).metrics
    with pytest.raises(OSError, match="nowhere"):
        fresh.train("tokenizer", 1, range(1))


def test_inspecting_changes_nothing_that_is_learnt():
    looked, blind = learner([5, 9, 4]), learner([5, 9, 4])
    looked.inspect(2)
    for each in (looked, blind):
        for part in ("tokenizer", "world_model", "actor_critic"):
            each.train(part, 2, range(2))
    assert np.array_equal(looked.weights(), blind.weights())
    assert looked.inspect(2).metrics == blind.inspect(2).metrics


def test_a_picture_of_a_dream_is_as_long_as_the_episode():
    film = learner([5, 9, 4]).inspect(2).pictures["imagination"]
    assert isinstance(film, Film)
    real, imagined = film.columns
    assert real.shape == imagined.shape == (9, 3, 64, 64)
    assert real[:, 0, 0, 0].tolist() == list(range(10, 19))
