"""Does an environment keep what it promises? A few steps of it tell, before a run depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from numbers import Real
from typing import Any
from zlib import crc32

import numpy as np

from actors.config import EnvironmentConfig
from actors.envs.environment import Environment, Step
from learners.action_space import Action, ActionSpace, Discrete
from learners.config import FRAME_SIZE

NUM_STEPS = 8
_METHODS = ("reset", "step", "get_state", "set_state")


def check_environment(config: EnvironmentConfig) -> None:
    """Plays a few steps for training and for evaluation, the same again, and the same from a state on.

    Raises: ValueError, in one line with what was found and expected, for the first promise that is broken; what the
        environment itself raises.
    """
    first, again, restored = config.build(0), config.build(0), config.build(1)
    if missing := [name for name in _METHODS if not hasattr(first, name)]:
        raise ValueError(f"found no {' and no '.join(missing)}, expected the methods {', '.join(_METHODS)}")
    space = getattr(first, "action_space", None)
    if not isinstance(space, ActionSpace):
        raise ValueError(f"action_space: found {space!r}, expected Discrete or Box of learners/action_space.py")
    _play(config.build(0, evaluation=True), is_running=False)
    played = _play(first, is_running=False)
    _compare(_play(again, is_running=False), played, "the same seed again")
    if not isinstance(state := first.get_state(), bytes):
        raise ValueError(f"get_state(): found {type(state).__name__}, expected bytes")
    restored.set_state(state)
    is_running = not played[-1].ended
    _compare(_play(restored, is_running), _play(first, is_running), "another instance after set_state()")
    for action in _outside(space):
        _check_refusal(config.build(0), action)


def _play(environment: Environment, is_running: bool) -> list[Step]:
    """What steps with random actions show, each checked; the first frame of an episode is a step, too."""
    shown: list[Step] = []
    space = environment.action_space
    for action in space.unstack(space.sample(np.random.default_rng(0), NUM_STEPS)):
        if not is_running:
            shown.append(Step(_checked_frame(environment.reset(), "reset()"), 0.0, False, False))
        step = environment.step(action)
        if not isinstance(step, Step):
            raise ValueError(f"step(): found {type(step).__name__}, expected Step")
        _checked_frame(step.frame, "step()")
        if not (isinstance(step.reward, Real) and isfinite(step.reward)):
            raise ValueError(f"step(): found the reward {step.reward!r}, expected a finite float")
        shown.append(step)
        is_running = not step.ended
    return shown


def _outside(space: ActionSpace) -> list[Action]:
    """Actions that are none of the space."""
    if isinstance(space, Discrete):
        return [-1, space.count]
    inside = np.array(space.low, space.dtype)
    return [np.full_like(inside, np.nan), np.nextafter(inside, -np.inf, dtype=space.dtype), inside[:-1]]


def _check_refusal(environment: Environment, action: Action) -> None:
    environment.reset()
    try:
        environment.step(action)
    except ValueError:
        return
    raise ValueError(f"step(): took the action {action}, expected a ValueError: it is not {environment.action_space}")


def _checked_frame(frame: Any, method: str) -> Any:
    shape = (3, FRAME_SIZE, FRAME_SIZE)
    is_array = isinstance(frame, np.ndarray)
    if not is_array or frame.shape != shape or frame.dtype != np.uint8:
        found = f"{frame.dtype} {frame.shape}" if is_array else type(frame).__name__
        raise ValueError(f"{method}: found a frame {found}, expected uint8 {shape}")
    return frame


def _compare(found: Sequence[Step], expected: Sequence[Step], who: str) -> None:
    for index, (mine, other) in enumerate(zip(map(_words, found), map(_words, expected), strict=False)):
        if mine != other:
            raise ValueError(f"{who}: found {mine} at moment {index}, expected {other}")


def _words(step: Step) -> str:
    """All that counts of it; the frame after an end does not."""
    frame = "any" if step.ended else f"{crc32(step.frame.tobytes()):08x}"
    ends = f"terminated {bool(step.terminated)}, truncated {bool(step.truncated)}"
    return f"frame {frame}, reward {float(step.reward)}, {ends}"
