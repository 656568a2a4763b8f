"""The dream of a trained world model as a Gymnasium environment, which importing this module registers:

    gymnasium.make("pipeline.imagined:iris_ray/Imagined-v0", run=RUN_DIR)

A policy of anybody's can be trained or tested in it. An episode begins at a stored step of the run's experience and
goes on in imagination until the world model says that it has ended, or for `horizon` steps. Rewards are in the unit in
which dreams give them (of IRIS and Δ-IRIS on Atari, their signs). The same seed gives the same episodes on a CPU.

Legend: B dreams side by side.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from learners.action_space import num_actions_of
from learners.dreaming.dream import Dream
from learners.nn.sampling import uniforms
from pipeline.trained import Trained, load

ID = "iris_ray/Imagined-v0"
HORIZON = 200
FRAMES_PER_SECOND = 15
Frames = NDArray[np.uint8]
"""(B, 64, 64, 3)."""


class Dreaming:
    """B dreams of one world model, which begin together."""

    def __init__(self, trained: Trained, size: int, horizon: int) -> None:
        """Raises ValueError, in one line, if nothing is to be dreamt."""
        for name, found in (("num_envs", size), ("horizon", horizon)):
            if found < 1:
                raise ValueError(f"{name}: found {found}, expected at least 1")
        self._dreams = trained.dreams
        self._trained = trained
        self._size = size
        self._generator = torch.Generator()
        self._dream: Dream | None = None

    def begin(self, rng: np.random.Generator) -> Frames:
        """From stored steps that the generator chooses."""
        self._generator.manual_seed(int(rng.integers(2**63)))
        rows = rng.integers(1, 1 + self._trained.learner.dataset.num_steps, size=self._size)
        with torch.no_grad():
            self._dream = self._dreams.dream(self._trained.context(rows, self._dreams.dream_columns))
        return self._frames()

    def step(self, actions: NDArray[np.int64]) -> tuple[Frames, NDArray[np.float32], NDArray[np.bool_]]:
        """Frames, rewards (B,) and ends (B,) after actions (B,)."""
        assert self._dream, "step() before reset()"
        noise = uniforms((self._size, self._dreams.noise_per_step), self._generator)
        rewards, ends = self._dream.step(torch.from_numpy(actions), noise)
        del self._dream.features[:-1]
        return self._frames(), rewards.numpy(), ends.numpy()

    @torch.no_grad()
    def _frames(self) -> Frames:
        assert self._dream
        return self._dreams.render(self._dream.features[-1]).permute(0, 2, 3, 1).numpy()


class Imagined(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """One dream; observations (64, 64, 3) uint8."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}  # noqa: RUF012 - Gymnasium's own

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        horizon: int = HORIZON,
        render_mode: str | None = None,
        allow_module: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            run: directory of a run; its last commit dreams.
            horizon: steps after which an episode is truncated.
            allow_module: as for `python -m pipeline.evaluate`: modules that the run's files name, whose code may run.

        Raises: UsageError, in one line, if there is no such run, or no world model has been trained in it yet.
        """
        trained = load(Path(run), allow_module)
        self._dreaming = Dreaming(trained, 1, horizon)
        self._horizon = horizon
        self._steps = 0
        self._frame = np.zeros((64, 64, 3), dtype=np.uint8)
        self.render_mode = render_mode
        self.observation_space = Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = Discrete(num_actions_of(trained.game.action_space, trained.config.algorithm.kind))

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        self._frame = self._dreaming.begin(self.np_random)[0]
        return self._frame, {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        frames, rewards, ends = self._dreaming.step(np.array([action], dtype=np.int64))
        self._frame = frames[0]
        return self._frame, float(rewards[0]), bool(ends[0]), self._steps >= self._horizon, {}

    def render(self) -> NDArray[np.uint8]:
        return self._frame


class ImaginedTogether(VectorEnv[Frames, NDArray[np.int64], NDArray[Any]]):
    """B dreams as one batch: they begin together, and who has ended or was truncated waits until `reset`, with reward
    0."""

    metadata = {  # noqa: RUF012 - Gymnasium's own
        "render_modes": ["rgb_array"],
        "render_fps": FRAMES_PER_SECOND,
        "autoreset_mode": AutoresetMode.DISABLED,
    }

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        num_envs: int = 1,
        horizon: int = HORIZON,
        render_mode: str | None = None,
        allow_module: tuple[str, ...] = (),
    ) -> None:
        """As `Imagined`."""
        trained = load(Path(run), allow_module)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self._dreaming = Dreaming(trained, num_envs, horizon)
        self._horizon = horizon
        self._steps = 0
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._frames: Frames = np.zeros((num_envs, 64, 64, 3), dtype=np.uint8)
        count = num_actions_of(trained.game.action_space, trained.config.algorithm.kind)
        self.single_observation_space = Box(0, 255, (64, 64, 3), np.uint8)
        self.single_action_space = Discrete(count)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = MultiDiscrete([count] * num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Frames, dict[str, Any]]:
        """Of all of them. Raises ValueError for some of them alone."""
        if options and not np.all(options.get("reset_mask", True)):
            raise ValueError("reset_mask: found some dreams, expected all: they are one batch")
        if isinstance(seed, list):
            raise ValueError("seed: found a list, expected one number: the dreams are one batch")
        super().reset(seed=seed)
        self._steps, self._ended[:] = 0, False
        self._frames = self._dreaming.begin(self.np_random)
        return self._frames.copy(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Frames, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        self._steps += 1
        frames, rewards, ends = self._dreaming.step(np.array(actions, dtype=np.int64))  # a copy: a dream keeps some
        waiting = self._ended.copy()
        self._frames = np.where(waiting[:, None, None, None], self._frames, frames)
        truncated = np.full(self.num_envs, self._steps >= self._horizon) & ~waiting
        self._ended |= ends | truncated
        return self._frames.copy(), np.where(waiting, 0.0, rewards).astype(np.float32), ends & ~waiting, truncated, {}

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        return tuple(self._frames)


if ID not in gymnasium.registry:
    gymnasium.register(ID, f"{__name__}:Imagined", vector_entry_point=f"{__name__}:ImaginedTogether")
