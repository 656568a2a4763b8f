"""Plays whole episodes to score a policy.

Episodes are played in batches of a fixed size, in lock step; what a batch scores depends on (seed, iteration, batch
index, weights) alone, so it does not matter which evaluator plays it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from actors.config import EnvironmentConfig, EvaluationConfig
from actors.envs.environment import HasGoal
from actors.envs.together import InThisProcess
from actors.lockstep import Lockstep
from actors.reports import EpisodeScore
from learners.algorithm import Agent, AgentConfig, Aims
from learners.streams import Streams

MAX_RECORDED_FRAMES = 600


class Evaluator:
    def __init__(
        self,
        env: EnvironmentConfig,
        evaluation: EvaluationConfig,
        agent: AgentConfig,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self._env = env
        self._config = evaluation
        self._seed = seed
        self._agent = Agent(agent, torch.device(device))
        self._action_space = agent.action_space

    def play(
        self,
        iteration: int,
        batch: int,
        num_episodes: int,
        weights: NDArray[np.uint8],
        *,
        record: bool = False,
        seed: int | None = None,
    ) -> tuple[list[EpisodeScore], NDArray[np.uint8]]:
        """Plays episodes batch·B … batch·B + num_episodes − 1 of an evaluation; num_episodes ≤ B.

        B is `envs_per_evaluator`; `seed` is another one than the run's.

        Returns: their scores and, if `record`, the frames (T, 3, 64, 64) of the first one (else T = 0).
        """
        size = self._config.envs_per_evaluator
        self._agent.load(weights)
        streams = Streams(self._seed if seed is None else seed)
        rng = streams.numpy("evaluation", iteration, batch)
        episodes = range(batch * size, batch * size + num_episodes)
        keys = [streams.key("evaluation environment", iteration, episode) for episode in episodes]
        environments = [self._env.build(key, evaluation=True) for key in keys]
        lockstep = Lockstep(InThisProcess(environments), self._action_space, history=0)
        lockstep.reset()
        state = self._agent.actor.initial_state(size)
        scores = np.zeros(num_episodes)
        frames = np.zeros((size, *lockstep.frames.shape[1:]), dtype=np.uint8)  # idle slots stay in the batch
        found = [each.goal() for each in environments if isinstance(each, HasGoal)]
        goals = [goal for goal in found if goal is not None]
        if isinstance(actor := self._agent.actor, Aims) and len(goals) == num_episodes:
            shown = frames.copy()
            shown[:num_episodes] = np.stack(goals)
            state = actor.aim(state, shown)
        recorded = []
        while lockstep.running.any():
            frames[:num_episodes] = lockstep.frames
            if record and lockstep.running[0] and len(recorded) < MAX_RECORDED_FRAMES:
                recorded.append(frames[0].copy())
            actions, state = self._agent.act(
                frames, state, rng, epsilon=self._config.epsilon, temperature=self._config.temperature
            )
            chosen = self._action_space.unstack(actions)
            steps = lockstep.step({i: chosen[i] for i in map(int, np.flatnonzero(lockstep.running))})
            for i, step in steps.items():
                scores[i] += step.reward
        results = [
            EpisodeScore(episode, float(scores[i]), int(lockstep.episode_steps[i]))
            for i, episode in enumerate(episodes)
        ]
        return results, np.array(recorded, dtype=np.uint8).reshape(-1, *frames.shape[1:])
