"""A learner with experience made up for measuring: real shapes, no environment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.workload import Workload
from learners.action_space import ActionSpace, Discrete
from learners.algorithm import AgentConfig
from learners.experience import Chunk
from learners.iris.iris import Iris
from learners.iris.perceptual import Perceptual
from learners.learner import Learner
from learners.nn.precision import autocast

ACTION_SPACE = Discrete(6)
EPISODE_STEPS = 100


def synthetic_learner(workload: Workload, *, num_steps: int, action_space: ActionSpace = ACTION_SPACE) -> Learner:
    """A learner whose dataset holds `num_steps` made-up steps, in episodes of 100.

    If the tokenizer's loss has a perceptual term, its network gets random weights: same cost, meaningless distances.
    """
    config, device = workload.config, workload.device
    agent = AgentConfig(config.algorithm, action_space)
    keep = not workload.as_published
    learner = Learner(agent, config.dataset, config.learner, seed=0, device=str(device), cache=keep)
    if workload.as_published:
        for part in learner.parts.values():
            part.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if workload.has_perceptual_loss:
        assert isinstance(learner.algorithm, Iris)
        learner.algorithm.perceptual = Perceptual.random(0).to(device)
    rng = np.random.default_rng(0)
    for first in range(0, num_steps, EPISODE_STEPS):
        length = min(EPISODE_STEPS, num_steps - first)
        learner.extend([_episode(rng, length, first // EPISODE_STEPS, action_space)])
    return learner


def settle(workload: Workload, learner: Learner, part: str) -> None:
    """Brings a part to where each of its gradient steps costs the same: one is taken, its columns are filled."""
    learner.train(part, 1, range(1))
    if not workload.as_published:
        fill(learner, learner.parts[part].columns)


def fill(learner: Learner, columns: Sequence[str]) -> None:
    """Brings the columns up to date at every stored frame, in the learner's precision."""
    with autocast(learner.dataset.device, learner.config.precision):
        learner.dataset.fill(columns)


def _episode(rng: np.random.Generator, length: int, episode: int, action_space: ActionSpace) -> Chunk:
    terminated = np.zeros(length, dtype=np.bool_)
    terminated[-1] = True
    return Chunk(
        iteration=1,
        environment=0,
        start=episode * EPISODE_STEPS,
        policy_version=0,
        frames=_frames(rng, length),
        actions=action_space.sample(rng, length).astype(action_space.dtype),
        rewards=rng.integers(-1, 2, size=length).astype(np.float32),
        terminated=terminated,
        truncated=np.zeros(length, dtype=np.bool_),
        episodes=np.full(length, -1 - episode, dtype=np.int64),  # a collector's are not negative
        episode_steps=np.arange(length, dtype=np.int32),
    )


def _frames(rng: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """(length, 3, 64, 64): a bright square that moves over a background of coarse noise."""
    background = rng.integers(64, size=(1, 3, 8, 8), dtype=np.uint8).repeat(8, axis=2).repeat(8, axis=3)
    frames = np.broadcast_to(background, (length, 3, 64, 64)).copy()
    for t, (row, column) in enumerate(rng.integers(56, size=(length, 2))):
        frames[t, :, row : row + 8, column : column + 8] = 255
    return frames
