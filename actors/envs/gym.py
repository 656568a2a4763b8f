"""Any Gymnasium environment that shows images, and has actions Discrete or in a bounded Box of floats."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from hashlib import blake2b
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image

from actors.config import GymConfig
from actors.envs.environment import Step, channels_first, check_step
from actors.envs.state import pack, unpack
from learners.action_space import Action, ActionSpace, Box, Discrete
from learners.config import FRAME_SIZE

_FIELDS = {
    "id": str,
    "seed": int,
    "episode": int,
    "running": bool,
    "actions": np.ndarray,
    "checksum": str,
    "native": bytes,
}


class Gym:
    """One Gymnasium environment; its frames resized to 64×64 by Pillow's bilinear, greys repeated to RGB.

    Every episode is reset with its own seed, a hash of (seed, episode number), so that an episode does not depend on
    those before it. The id's own step limit ends an episode as truncated; with a real end in that step, as terminated.

    State: the environment's own `get_state() -> bytes` and `set_state(bytes)` where it has both and its id adds no
    wrappers. Otherwise the running episode's seed and actions: set_state() plays the episode again, which costs its
    length, and compares a checksum of the last observation. That needs an environment that is deterministic given
    reset(seed=...) and the actions; one that is not is noticed.
    """

    def __init__(self, config: GymConfig, seed: int) -> None:
        """Raises ValueError in one line for an unknown id and for other spaces than those."""
        self._id = config.id
        self._is_rendered = config.frames == "rendered"
        self._env, self._max_steps = _make(config.id, {"render_mode": "rgb_array"} if self._is_rendered else {})
        self._native_space: Any = self._env.action_space
        self.action_space = _action_space(config.id, self._native_space)
        if not self._is_rendered:
            _check_image(config.id, self._env)
        own = self._env.unwrapped
        wrapped = self._env.spec is not None and self._env.spec.additional_wrappers
        self._own_state: Any = own if hasattr(own, "get_state") and hasattr(own, "set_state") and not wrapped else None
        self._seed = seed
        self._episode = 0
        self._running = False
        self._actions: list[Action] = []  # of the running or just ended episode
        self._checksum = ""

    @property
    def action_names(self) -> tuple[str, ...]:
        """The environment's own numbers of its actions, which need not start at 0; in a box, of their places."""
        if isinstance(self.action_space, Box):
            return tuple(map(str, range(len(self.action_space.low))))
        return tuple(str(self._native(action)) for action in range(self.action_space.count))

    def reset(self) -> NDArray[np.uint8]:
        """Starts the next episode; its first frame (3, 64, 64)."""
        self._episode += 1
        self._actions = []
        observation = self._begin()
        self._running = True
        return self._see(observation)

    def step(self, action: Action) -> Step:
        """Raises ValueError for an action outside `action_space`, RuntimeError after the episode's end."""
        check_step(self, action, self._running)
        self._actions.append(action)
        observed, reward, terminated, truncated, _ = self._env.step(self._native(action))
        observation = self._image(observed)
        truncated = bool(truncated) or len(self._actions) == self._max_steps
        self._running = not (terminated or truncated)
        return Step(self._see(observation), float(reward), bool(terminated), truncated and not terminated)

    def get_state(self) -> bytes:
        """Raises ValueError if the environment's own get_state() gives anything but bytes."""
        native = b""
        if self._running and self._own_state is not None:
            native = self._own_state.get_state()
            if not isinstance(native, bytes):
                raise ValueError(f"{self._id}: get_state() must return bytes: found {type(native).__name__}")
        return pack(
            "gym",
            {
                "id": self._id,
                "seed": self._seed,
                "episode": self._episode,
                "running": self._running,
                "actions": self.action_space.stack(self._actions),
                "checksum": self._checksum,
                "native": native,
            },
        )

    def set_state(self, state: bytes) -> None:
        """Raises ValueError in one line if `state` is not one of this id's or the episode does not replay identically.

        After a failed replay no episode is running.
        """
        fields = unpack("gym", state, _FIELDS)
        if fields["id"] != self._id:
            raise ValueError(f"state of another environment: found {fields['id']!r}, expected {self._id!r}")
        if bool(fields["native"]) and self._own_state is None:
            raise ValueError(f"{self._id}: the state is the environment's own, which has no set_state()")
        self._running = False
        self._seed = fields["seed"]
        self._episode = fields["episode"]
        self._actions = self.action_space.unstack(fields["actions"])
        for action in self._actions:
            self.action_space.check(action)
        self._checksum = fields["checksum"]
        if not fields["running"]:
            return  # the next reset() starts afresh
        observation = self._begin()
        if fields["native"]:
            self._own_state.set_state(fields["native"])
        else:
            self._replay(observation)
        self._running = True

    def _native(self, action: Action) -> Any:
        """As the environment takes it."""
        space = self._native_space
        if isinstance(space, spaces.Discrete):
            return int(space.start) + int(action)
        return np.asarray(action, space.dtype).reshape(space.shape).clip(space.low, space.high)

    def _begin(self) -> NDArray[np.uint8]:
        """The episode of this number; its first observation."""
        digest = blake2b(repr((int(self._seed), self._episode)).encode(), digest_size=4).digest()
        # 31 bits: the widest that every environment takes.
        return self._image(self._env.reset(seed=int.from_bytes(digest, "little") >> 1)[0])

    def _image(self, observation: Any) -> NDArray[np.uint8]:
        """What was observed, or is drawn instead."""
        if not self._is_rendered:
            return observation
        image = self._env.render()
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"{self._id}: found {found} rendered, expected a uint8 array (H, W, 3)")
        return image

    def _replay(self, observation: NDArray[np.uint8]) -> None:
        """Takes the recorded actions after `observation`; raises ValueError unless they lead to the recorded one."""
        for number, action in enumerate(self._actions, start=1):
            observed, _, terminated, truncated, _ = self._env.step(self._native(action))
            observation = self._image(observed)
            if terminated or truncated:
                raise ValueError(
                    f"{self._id} is not deterministic: the replayed episode {self._episode} ended at step {number}, "
                    f"expected to run after step {len(self._actions)}"
                )
        found = _checksum(observation)
        if found != self._checksum:
            raise ValueError(
                f"{self._id} is not deterministic: after {len(self._actions)} replayed steps of episode "
                f"{self._episode} found an observation with checksum {found}, expected {self._checksum}"
            )

    def _see(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._checksum = _checksum(observation)
        return _frame(observation)


def _make(environment_id: str, options: Mapping[str, Any]) -> tuple[gymnasium.Env[Any, Any], int | None]:
    """The environment without its step limit, and the limit: counted here, it is part of the state."""
    try:
        # -1 is Gymnasium's word for no TimeLimit wrapper.
        env = gymnasium.make(environment_id, max_episode_steps=-1, **options)
    except (gymnasium.error.Error, ImportError, ValueError, TypeError) as error:  # TypeError: a relative module
        nearest = get_close_matches(environment_id.split(":")[-1], gymnasium.registry, n=1)
        hint = f"nearest id {nearest[0]!r}" if nearest else "expected Name-v0, or module:Name-v0 to import its module"
        reason = " ".join(str(error).split())
        words = f"unknown Gymnasium environment: found {environment_id!r}, {hint} ({reason})"
        raise ValueError(words) from error
    assert env.spec is not None  # make() sets it
    return env, gymnasium.spec(env.spec.id).max_episode_steps


def _action_space(environment_id: str, space: gymnasium.Space[Any]) -> ActionSpace:
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        with suppress(ValueError):
            return Box(tuple(space.low.reshape(-1).tolist()), tuple(space.high.reshape(-1).tolist()))
    raise ValueError(f"{environment_id}: found actions {space}, expected Discrete, or a bounded Box of floats")


def _check_image(environment_id: str, env: gymnasium.Env[Any, Any]) -> None:
    space = env.observation_space
    if isinstance(space, spaces.Box) and space.dtype == np.uint8:
        grey_or_rgb = len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[2] == 3)
        if grey_or_rgb and min(space.shape) > 0:
            return
    raise ValueError(f"{environment_id}: found observations {space}, expected a uint8 Box of shape (H, W, 3) or (H, W)")


def _checksum(observation: NDArray[np.uint8]) -> str:
    return blake2b(observation.tobytes(), digest_size=16).hexdigest()


def _frame(observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) or (H, W) → (3, 64, 64)."""
    image = Image.fromarray(observation).convert("RGB")
    return channels_first(np.asarray(image.resize((FRAME_SIZE, FRAME_SIZE), Image.Resampling.BILINEAR)))
