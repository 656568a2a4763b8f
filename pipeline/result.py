"""What there is to say about a run before and after it."""

from __future__ import annotations

import os
from pathlib import Path

from learners.agent import AgentConfig
from learners.imagination import actor_critic_part
from learners.learner import count_parameters
from pipeline.checkpoint import Checkpoint, Checkpoints
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.evaluation import Episode, Evaluation, protocol_of, read
from pipeline.run_dir import RunDirectory


def describe_networks(agent: AgentConfig) -> str:
    """Parameter counts of all parts, a line each."""
    world_model, actor_critic = agent.build()
    parts = [*world_model.parts, actor_critic_part(actor_critic, world_model, agent.actor_critic)]
    return "\n".join(f"{part.name:<14}{count_parameters(part.module):>12,} parameters" for part in parts)


def is_finished(run: RunDirectory, config: RunConfig) -> bool:
    """Whether the last iteration is committed and its scores are written, as they were.

    Raises: UsageError if the run has gone beyond that iteration, which was not played as the last one then.
    """
    checkpoint = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
    if checkpoint is None or checkpoint.iteration < config.iterations:
        return False
    if (planned := checkpoint.state.iterations) != config.iterations:
        expected = checkpoint.iteration + (checkpoint.iteration < planned)
        progress = f"iteration {checkpoint.iteration} of {planned} is committed in {run.path}"
        raise UsageError(f"--iterations: found {config.iterations}, expected at least {expected}: {progress}")
    scores = scores_bytes(config, checkpoint)
    return run.scores_file.exists() and run.scores_file.read_bytes() == scores


def scores_bytes(config: RunConfig, checkpoint: Checkpoint) -> bytes:
    """What scores.json holds, of the last commit."""
    state = checkpoint.state
    episodes = [
        Episode(seed=config.seed, index=index, score=score, length=length)
        for index, (score, length) in enumerate(state.evaluation)
    ]
    protocol = protocol_of(
        config.env, config.evaluation, steps=state.steps, iterations=state.iteration, episodes=len(episodes)
    )
    return Evaluation.of(config, checkpoint, protocol, episodes).to_bytes()


def describe_result(run: RunDirectory) -> str:
    """Score, where the pictures are, and what to try next."""
    newest = {kind: max(run.media.glob(pattern), default=None) for kind, pattern in _PICTURES.items()}
    lines = [
        read(run.scores_file).summary,
        *(f"  {kind:<32}{_relative(path)}" for kind, path in newest.items() if path),
        f"  {'all metrics':<32}tensorboard --logdir {_relative(run.path)}",
        f"  {'check every stored byte':<32}python -m pipeline.verify {_relative(run.path)}",
    ]
    return "\n".join(lines)


_PICTURES = {
    "the agent at play": "episode-*.gif",
    "a dream beside what happened": "imagination-*.gif",
    "what the agent sees": "reconstructions-*.png",
    "losses and returns": "curves.png",
}


def _relative(path: Path) -> str:
    try:
        relative = os.path.relpath(path)
    except FileNotFoundError:  # a Ray job's working directory may go before the job does
        return str(path)
    return str(path) if relative.startswith("..") else relative
