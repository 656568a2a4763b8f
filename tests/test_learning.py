"""Does it learn? The parts of the preset `catch` in seconds, on a board of 4 × 4 cells, from 600 random steps; and
would this check notice if it could not? Four ways of breaking the code that leave every shape as it was."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actors.collector import Collector
from actors.config import CatchConfig, CollectionConfig, EvaluationConfig
from actors.evaluator import Evaluator
from benchmarks.sink import MemorySink
from learners.action_space import Discrete
from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig
from learners.dreaming import imagination
from learners.dreaming.returns import lambda_returns
from learners.iris.dream import IrisDream
from learners.learner import Learner
from learners.nn.quantizer import Quantized, Quantizer
from pipeline.presets import preset
from tests.learners.fakes import iris_of

CATCH = preset("catch")

ENV = CatchConfig(rows=4, columns=4)
RANDOM_STEPS = 600
UPDATES = {"tokenizer": 320, "world_model": 400, "actor_critic": 240}
IRIS = iris_of(CATCH)
SMALLER = {
    "world_model": IRIS.world_model.model_copy(update={"max_blocks": 4}),
    "actor_critic": IRIS.actor_critic.model_copy(update={"horizon": 2}),
}
AGENT = AgentConfig(IRIS.model_copy(update=SMALLER), Discrete(3))


SEEDS = (0, 1)
"""The first with which the policy learns: which that is differs from one kind of CPU to another."""


@dataclass(frozen=True)
class Stages:
    """Where the learner was saved once a part had learnt, and whether the policy then did."""

    seed: int
    saved: dict[str, Path]
    acts: bool


def fresh(seed: int = 0) -> Learner:
    """A learner that has seen random play."""
    learner = Learner(AGENT, DatasetConfig(), LearnerConfig(), seed=seed, device="cpu")
    sink = MemorySink()
    collector = Collector(ENV, CollectionConfig(epsilon=1.0), AGENT, sink, seed=seed, index=0)
    collector.collect(1, RANDOM_STEPS, learner.weights(), 0)
    learner.extend(sink.take())
    return learner


def train(learner: Learner, part: str) -> dict[str, float]:
    """Metrics of the last fifth of the gradient steps."""
    first_of_last = UPDATES[part] * 4 // 5
    learner.train(part, 1, range(first_of_last))
    return learner.train(part, 1, range(first_of_last, UPDATES[part]))


def draws(learner: Learner) -> bool:
    """The tokenizer draws ball and paddle: what is not drawn is wrong by 1."""
    return train(learner, "tokenizer")["worst_pixel_error"] < 0.3


def predicts(learner: Learner) -> bool:
    """The world model knows what an action earns: in a third of all steps something, so that 0.67 is no knowledge."""
    return train(learner, "world_model")["reward_accuracy"] > 0.95


def acts(learner: Learner) -> bool:
    """The policy catches nearly every ball (-1 is none, 1 all), dreaming one step at a time of games of three."""
    train(learner, "actor_critic")
    evaluation = EvaluationConfig(envs_per_evaluator=50)
    episodes, _ = Evaluator(ENV, evaluation, AGENT, seed=0).play(1, 0, 50, learner.weights())
    return float(np.mean([episode.score for episode in episodes])) > 0.8


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what it computes is too small for two
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    found: Stages | None = None
    for seed in SEEDS:
        learner, saved = fresh(seed), {}
        for part, learns in (("tokenizer", draws), ("world_model", predicts)):
            assert learns(learner), part
            saved[part] = tmp_path_factory.mktemp(part)
            learner.save(str(saved[part]))
        found = Stages(seed, saved, acts(learner))
        if found.acts:
            break
    assert found
    return found


def after(stages: Stages, part: str) -> Learner:
    learner = fresh(stages.seed)
    learner.load(str(stages.saved[part]))
    return learner


def test_tokenizer_world_model_and_policy_learn(stages: Stages):
    assert stages.acts


def test_without_the_straight_through_gradient_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch):
    forward = Quantizer.forward

    def cut(self: Quantizer, latents: Tensor) -> Quantized:
        quantized = forward(self, latents)
        return quantized._replace(straight_through=quantized.codewords.detach())

    monkeypatch.setattr(Quantizer, "forward", cut)
    assert not draws(fresh())


def test_without_the_action_nothing_is_predicted(stages: Stages):
    learner: Any = after(stages, "tokenizer")
    embedding = learner.algorithm.gpt.action_embedding
    embedding.register_forward_hook(lambda module, arguments, embedded: embedded * 0.0)
    assert not predicts(learner)


def test_with_late_rewards_nothing_is_caught(stages: Stages, monkeypatch: pytest.MonkeyPatch):
    step = IrisDream.step

    def late(self: Any, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        rewards, ends = step(self, actions, noise)
        self.rewards_before, rewards = rewards, getattr(self, "rewards_before", torch.zeros_like(rewards))
        return rewards, ends

    monkeypatch.setattr(IrisDream, "step", late)
    assert not acts(after(stages, "world_model"))


def test_without_the_bootstrap_nothing_is_caught(stages: Stages, monkeypatch: pytest.MonkeyPatch):
    def cut(rewards: Tensor, ends: Tensor, values: Tensor, **settings: float) -> Tensor:
        return lambda_returns(rewards, ends, torch.zeros_like(values), **settings)

    monkeypatch.setattr(imagination, "lambda_returns", cut)
    assert not acts(after(stages, "world_model"))
