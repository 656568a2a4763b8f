"""A learner with experience made up for measuring: real shapes, no environment."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from learners.agent import AgentConfig
from learners.config import DatasetConfig
from learners.experience import Chunk
from learners.learner import Learner
from learners.perceptual import Perceptual
from pipeline.config import RunConfig

NUM_ACTIONS = 6
EPISODE_STEPS = 100


def with_batch_sizes(config: RunConfig, batch_sizes: dict[str, int]) -> RunConfig:
    """The configuration with other batch sizes for some parts."""
    data = config.model_dump()
    trainings = {
        "tokenizer": data["world_model"]["tokenizer"]["training"],
        "world_model": data["world_model"]["transformer"]["training"],
        "actor_critic": data["actor_critic"]["training"],
    }
    for part, size in batch_sizes.items():
        trainings[part]["batch_size"] = size
    return RunConfig.model_validate(data)


def synthetic_learner(config: RunConfig, device: torch.device, *, num_steps: int) -> Learner:
    """A learner of `config` whose dataset holds `num_steps` made-up steps, in episodes of 100.

    If the tokenizer's loss has a perceptual term, its network gets random weights: same cost, meaningless distances.
    """
    with TemporaryDirectory() as directory:
        world_model = config.world_model
        if world_model.tokenizer.perceptual != "none":
            path = Path(directory, "random.safetensors")
            save_file({name: value for name, value in Perceptual.random(0).state_dict().items()}, path)
            tokenizer = world_model.tokenizer.model_copy(update={"perceptual_weights": str(path)})
            world_model = world_model.model_copy(update={"tokenizer": tokenizer})
        agent = AgentConfig(world_model, config.actor_critic, NUM_ACTIONS)
        learner = Learner(agent, DatasetConfig(), seed=0, device=str(device))
        rng = np.random.default_rng(0)
        for first in range(0, num_steps, EPISODE_STEPS):
            learner.extend([_episode(rng, min(EPISODE_STEPS, num_steps - first), first // EPISODE_STEPS)])
        if world_model.tokenizer.perceptual != "none":
            learner.train("tokenizer", 1, range(1))  # reads the weights before their directory goes
    return learner


def _episode(rng: np.random.Generator, length: int, episode: int) -> Chunk:
    terminated = np.zeros(length, dtype=np.bool_)
    terminated[-1] = True
    return Chunk(
        iteration=1,
        environment=0,
        start=episode * EPISODE_STEPS,
        policy_version=0,
        frames=_frames(rng, length),
        actions=rng.integers(NUM_ACTIONS, size=length).astype(np.int32),
        rewards=rng.integers(-1, 2, size=length).astype(np.float32),
        terminated=terminated,
        truncated=np.zeros(length, dtype=np.bool_),
        episodes=np.full(length, episode, dtype=np.int64),
        episode_steps=np.arange(length, dtype=np.int32),
    )


def _frames(rng: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """(length, 3, 64, 64): a bright square that moves over a background of coarse noise."""
    background = rng.integers(64, size=(1, 3, 8, 8), dtype=np.uint8).repeat(8, axis=2).repeat(8, axis=3)
    frames = np.broadcast_to(background, (length, 3, 64, 64)).copy()
    for t, (row, column) in enumerate(rng.integers(56, size=(length, 2))):
        frames[t, :, row : row + 8, column : column + 8] = 255
    return frames
