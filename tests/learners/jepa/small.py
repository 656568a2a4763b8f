"""A small joint-embedding model in rooms, and walks that it learns from."""

from __future__ import annotations

import numpy as np
import torch

from actors.config import RoomsConfig
from actors.envs.rooms import Rooms
from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig, PartTraining
from learners.experience import Chunk
from learners.jepa.config import (
    ActorCriticConfig,
    DecoderConfig,
    HeadsConfig,
    JepaConfig,
    RegulariserConfig,
    WorldModelConfig,
)
from learners.jepa.jepa import Jepa
from learners.learner import Learner

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


def train_alone(found: Learner, part: str, metric: str) -> dict[str, float]:
    """A hundred steps of a part by the features of a world model that none of them changes; the metric gets better."""
    assert list(found.parts) == ["world_model", "heads", "decoder", part]
    before = {name: each.clone() for name, each in jepa_of(found).world_model.state_dict().items()}
    first = found.train(part, 1, range(5))
    last = found.train(part, 2, range(100))
    assert last[metric] < first[metric]
    assert all(torch.equal(each, before[name]) for name, each in jepa_of(found).world_model.state_dict().items())
    assert part in jepa_of(found).acting_modules()
    return last
