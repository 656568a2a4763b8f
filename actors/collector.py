"""Collects experience with an ε-greedy policy.

A collector takes its share of an iteration's steps in its environments and writes them as it plays. What it writes
depends on (seed, its index, the iteration, the weights, its state) alone; its state is a few hundred kilobytes, so
that a replacement can play an iteration again exactly.

Legend: B environments of this collector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from actors.config import CollectionConfig, EnvironmentConfig
from actors.envs.together import InProcesses, InThisProcess
from actors.lockstep import Lockstep
from actors.reports import CollectionReport
from actors.store_index import Receipt
from learners.action_space import Action, ActionSpace
from learners.algorithm import Agent, AgentConfig
from learners.experience import Chunk
from learners.streams import Streams

PIECE_STEPS = 2000
"""Steps of a file at most: what a collector holds in memory, and what damage to one file costs."""


class Sink(Protocol):
    """Where experience is written: `ReplayStore`, but for tests."""

    def write(self, collector: int, piece: int, chunks: Sequence[Chunk]) -> Receipt: ...


class Collector:
    def __init__(
        self,
        env: EnvironmentConfig,
        collection: CollectionConfig,
        agent: AgentConfig,
        sink: Sink,
        *,
        seed: int,
        index: int,
        device: str = "cpu",
        env_processes: int = 0,
    ) -> None:
        """`env_processes` step its environments; with 0, it steps them itself, one after another."""
        size = collection.envs_per_collector
        self._config = collection
        self._sink = sink
        self._streams = Streams(seed)
        self._index = index
        self._first = index * size  # index of its first environment within the run
        self._agent = Agent(agent, torch.device(device))
        self._action_space = agent.action_space
        self._returns = np.zeros(size)  # (B,) of the running episodes
        keys = [self._streams.key("environment", self._first + i) for i in range(size)]
        apart = InProcesses(env, keys, env_processes) if env_processes else None
        self._lockstep = Lockstep(
            apart or InThisProcess(map(env.build, keys)), agent.action_space, self._agent.actor.history
        )

    def collect(
        self, iteration: int, num_steps: int, weights: NDArray[np.uint8], policy_version: int
    ) -> tuple[list[Receipt], CollectionReport, bytes]:
        """Takes exactly `num_steps` agent steps; receipts, a report and the state afterwards (for `set_state`).

        The actor's state is made of the last steps of the running episodes first. When fewer steps are left than
        environments are running, the first of them take them. Raises OSError if the disk fails.
        """
        self._agent.load(weights)
        lockstep, rng = self._lockstep, self._streams.numpy("collection", iteration, self._index)
        size = len(lockstep.running)
        records: list[list[_Row]] = [[] for _ in range(size)]  # (B,) of the piece that is being played
        starts = [0] * size  # (B,) steps of each before it
        receipts: list[Receipt] = []
        returns: list[float] = []
        lengths: list[int] = []
        achievements: list[Mapping[str, int]] = []
        if num_steps and not lockstep.running.any():
            self._reset()
        state = self._agent.actor.burn_in(*lockstep.recent())
        epsilon, taken = self._config.epsilon_in(iteration), 0
        while taken < num_steps:
            if not lockstep.running.any():
                self._reset()
                state = self._agent.actor.initial_state(size)
            actions, state = self._agent.act(
                lockstep.frames, state, rng, epsilon=epsilon, temperature=self._config.temperature
            )
            chosen = self._action_space.unstack(actions)
            acting = {i: chosen[i] for i in map(int, np.flatnonzero(lockstep.running)[: num_steps - taken])}
            frames, episode_steps = lockstep.frames.copy(), lockstep.episode_steps.tolist()
            for i, step in lockstep.step(acting).items():
                episode, episode_step = (self._first + i) << 32 | lockstep.round, episode_steps[i]
                ends = step.terminated, step.truncated
                records[i].append((frames[i], acting[i], step.reward, *ends, episode, episode_step))
                self._returns[i] += step.reward
                taken += 1
                if step.ended:
                    returns.append(float(self._returns[i]))
                    lengths.append(episode_step + 1)
                    achievements.append(step.achievements)
                if taken == num_steps or taken % PIECE_STEPS == 0:
                    chunks = [
                        _chunk(rows, self._action_space, iteration, self._first + env, starts[env], policy_version)
                        for env, rows in enumerate(records)
                        if rows
                    ]
                    receipts.append(self._sink.write(self._index, len(receipts), chunks))
                    starts = [start + len(rows) for start, rows in zip(starts, records, strict=True)]
                    records = [[] for _ in range(size)]
        report = CollectionReport(tuple(returns), tuple(lengths), tuple(achievements))
        return receipts, report, self.get_state()

    def _reset(self) -> None:
        self._lockstep.reset()
        self._returns[:] = 0.0

    def get_state(self) -> bytes:
        return self._returns.astype("<f8").tobytes() + self._lockstep.get_state()

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is damaged or of another collector."""
        size = self._returns.nbytes
        self._lockstep.set_state(state[size:])
        self._returns[:] = np.frombuffer(state[:size], dtype="<f8")


_Row = tuple[NDArray[np.uint8], Action, float, bool, bool, int, int]
"""One step: frame, action, reward, terminated, truncated, episode, step within it."""


def _chunk(
    rows: list[_Row], action_space: ActionSpace, iteration: int, environment: int, start: int, policy_version: int
) -> Chunk:
    frames, actions, rewards, terminated, truncated, episodes, episode_steps = zip(*rows, strict=True)
    return Chunk(
        iteration=iteration,
        environment=environment,
        start=start,
        policy_version=policy_version,
        frames=np.stack(frames),
        actions=action_space.stack(actions),
        rewards=np.array(rewards, dtype=np.float32),
        terminated=np.array(terminated, dtype=np.bool_),
        truncated=np.array(truncated, dtype=np.bool_),
        episodes=np.array(episodes, dtype=np.int64),
        episode_steps=np.array(episode_steps, dtype=np.int32),
    )
