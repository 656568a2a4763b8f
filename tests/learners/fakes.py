"""Experience and networks small enough to reason about."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from learners.action_space import Discrete
from learners.algorithm import AgentConfig
from learners.config import PartTraining
from learners.dataset import Dataset
from learners.delta_iris import config as delta_iris
from learners.drawing import UniformDrawing
from learners.dreaming.config import ActorCriticConfig
from learners.experience import Chunk
from learners.iris.config import IrisConfig, TokenizerConfig, TransformerConfig
from learners.jepa import config as jepa
from learners.nn.config import ResidualEncoderSize
from learners.part import Segments
from learners.planning.config import CostConfig, CriticConfig, PlannerConfig, ReflexConfig, UpperConfig
from pipeline.config import RunConfig

NUM_ACTIONS = 3
ACTION_SPACE = Discrete(NUM_ACTIONS)
FEATURE_SHAPE = (3, 64, 64)

TINY_TRAINING = PartTraining(starts_after=0, batch_size=4, learning_rate=1e-3)
TINY_IRIS = IrisConfig(
    tokenizer=TokenizerConfig(
        vocab_size=16,
        codeword_size=8,
        grid_size=2,
        width=8,
        residual_blocks=1,
        attention_resolutions=(4,),
        norm_groups=4,
        perceptual="none",
        training=TINY_TRAINING,
    ),
    world_model=TransformerConfig(
        layers=2,
        heads=2,
        embedding_size=16,
        max_blocks=3,
        training=TINY_TRAINING.model_copy(update={"weight_decay": 0.01}),
    ),
    actor_critic=ActorCriticConfig(channels=(4, 4, 4, 4), lstm_size=8, burn_in=2, horizon=6, training=TINY_TRAINING),
)
TINY_ACTOR_CRITIC = TINY_IRIS.actor_critic
TINY_AGENT = AgentConfig(TINY_IRIS, ACTION_SPACE)


def tiny_encoder(out_channels: int) -> ResidualEncoderSize:
    return ResidualEncoderSize(
        width=4, out_channels=out_channels, multipliers=(1, 2), halve_after=(1,), norm_groups=2, patch_size=4
    )


TINY_DELTA_IRIS = delta_iris.DeltaIrisConfig(
    tokenizer=delta_iris.TokenizerConfig(
        vocab_size=16,
        codeword_size=8,
        encoder=tiny_encoder(4),
        context_encoder=tiny_encoder(2),
        action_channels=1,
        segment_transitions=3,
        training=TINY_TRAINING,
    ),
    world_model=delta_iris.WorldModelConfig(
        layers=2,
        heads=2,
        embedding_size=64,
        max_blocks=5,
        frame_encoder=tiny_encoder(1),
        training=TINY_IRIS.world_model.training,
    ),
    actor_critic=delta_iris.ActorCriticConfig(
        encoder=tiny_encoder(1), lstm_size=8, burn_in=2, horizon=3, training=TINY_TRAINING
    ),
)

TINY_JEPA = jepa.JepaConfig(
    world_model=jepa.WorldModelConfig(
        features=16,
        channels=4,
        hidden=16,
        rollout=3,
        latent=jepa.LatentConfig(codes=3),
        training=TINY_IRIS.world_model.training,
    ),
    heads=jepa.HeadsConfig(hidden=16, training=TINY_TRAINING),
    decoder=jepa.DecoderConfig(channels=4, training=TINY_TRAINING),
    critic=CriticConfig(kind="cost", hidden=16, steps=2, training=TINY_TRAINING),
    reflex=ReflexConfig(kind="distilled", hidden=16, rollout=1, training=TINY_TRAINING),
    upper=UpperConfig(kind="chunks", steps=1, hidden=8, rollout=2, near=1, training=TINY_TRAINING),
    agent=jepa.AgentConfig(
        planner=PlannerConfig(blocks=2, block_steps=1, samples=8, elites=2, iterations=2),
        cost=CostConfig(goal=0.0, reward=1.0, critic=1.0),
    ),
)

TINY_AGENTS = {
    "iris": TINY_AGENT,
    "delta-iris": AgentConfig(TINY_DELTA_IRIS, ACTION_SPACE),
    "jepa": AgentConfig(TINY_JEPA, ACTION_SPACE),
}
"""Of every algorithm, for what all of them promise."""
PARTS_OF_ALL = [(name, part) for name, agent in TINY_AGENTS.items() for part in agent.algorithm.trainings]
"""Algorithm and part; for tests whose `agent` is chosen by the first."""


def iris_of(run: RunConfig) -> IrisConfig:
    """The algorithm of a run that is one of IRIS."""
    assert isinstance(run.algorithm, IrisConfig)
    return run.algorithm


def with_tiny(**changes: object) -> AgentConfig:
    """The tiny agent with other settings of its algorithm."""
    return AgentConfig(TINY_IRIS.model_copy(update=changes), ACTION_SPACE)


def make_chunk(
    lengths: Sequence[int],
    *,
    iteration: int = 1,
    environment: int = 0,
    start: int = 0,
    first_episode: int = 0,
    seed: int = 0,
) -> Chunk:
    """Whole episodes of the given lengths, the last one unfinished; frame k of episode e is filled with 10·e + k."""
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    episodes = np.repeat(np.arange(first_episode, first_episode + len(lengths)), lengths)
    steps = np.concatenate([np.arange(length) for length in lengths])
    last = np.cumsum(lengths) - 1
    terminated = np.zeros(total, dtype=bool)
    terminated[last[:-1]] = True
    values = (10 * episodes + steps).astype(np.uint8)
    return Chunk(
        iteration=iteration,
        environment=environment,
        start=start,
        policy_version=0,
        frames=np.broadcast_to(values[:, None, None, None], (total, 3, 64, 64)).copy(),
        actions=rng.integers(NUM_ACTIONS, size=total).astype(np.int32),
        rewards=rng.integers(-2, 3, size=total).astype(np.float32),
        terminated=terminated,
        truncated=np.zeros(total, dtype=bool),
        episodes=episodes.astype(np.int64),
        episode_steps=steps.astype(np.int32),
    )


def drawn_from(
    dataset: Dataset,
    batch_size: int,
    length: int,
    anchor: Literal["start", "end"],
    columns: Sequence[str],
    generator: np.random.Generator,
) -> Segments:
    """Segments drawn uniformly, with these columns."""
    return dataset.gather(dataset.draw(UniformDrawing(length, anchor), batch_size, generator, iteration=2), columns)
