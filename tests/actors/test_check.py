"""An environment that breaks a promise is told so in one line; ours keep them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from actors.config import ENVIRONMENTS, AtariConfig, CatchConfig, CrafterConfig, EnvironmentConfig
from actors.envs.check import check_environment
from actors.envs.environment import Step
from pipeline import train
from pipeline.cli import Launch, command
from pipeline.presets import preset
from tests.examples.corridor import Corridor, CorridorConfig
from tests.examples.pushed import Pushed, PushedConfig

drawn = np.random.Generator(np.random.PCG64(0))
"""Shared by all instances, as no random generator may be."""


class BrokenConfig(CorridorConfig):
    """A corridor that is changed once it is built."""

    kind: str = "broken-corridor"

    def build(self, seed: int, *, evaluation: bool = False) -> Corridor:
        return change(Broken(self, seed), evaluation)


class Broken(Corridor):
    """What `reset` and `step` show passes through `seen`."""

    seen: Callable[[Step], Any] = staticmethod(lambda step: step)

    def reset(self) -> Any:
        return self.seen(Step(super().reset(), 0.0, False, False)).frame

    def step(self, action: int) -> Any:
        return self.seen(super().step(action))


class Forgiving(Broken):
    def step(self, action: Any) -> Any:
        return super().step(action % 2)


def change(environment: Corridor, evaluation: bool) -> Any:
    return environment


def seeing(**changes: Any) -> Callable[[Broken, bool], Any]:
    """What is seen has other values, or those that a function makes of the step."""

    def seen(step: Step) -> Step:
        made = {name: value(step) if callable(value) else value for name, value in changes.items()}
        return Step(**{**vars(step), **made})

    return with_attributes(seen=seen)


def with_attributes(**attributes: Any) -> Callable[[Broken, bool], Any]:
    def change(environment: Broken, evaluation: bool) -> Broken:
        vars(environment).update(attributes)
        return environment

    return change


def noise() -> np.ndarray:
    return drawn.integers(256, size=(3, 64, 64), dtype=np.uint8)


class Stateless:
    """Has no get_state and no set_state."""

    action_space, reset, step = Corridor.action_space, Corridor.reset, Corridor.step


FRAME = "frame [0-9a-f]{8}, reward 0.0, terminated False, truncated False"
BROKEN: dict[str, tuple[Callable[[Broken, bool], Any], str]] = {
    "no states": (
        lambda environment, evaluation: Stateless(),
        "found no get_state and no set_state, expected the methods reset, step, get_state, set_state",
    ),
    "no actions": (
        with_attributes(action_space=2),
        "action_space: found 2, expected Discrete or Box of learners/action_space.py",
    ),
    "any action": (
        lambda environment, evaluation: Forgiving(BrokenConfig(), 0),
        r"step\(\): took the action -1, expected a ValueError: it is not one of 2 actions",
    ),
    "shape": (
        seeing(frame=lambda step: step.frame.transpose(1, 2, 0)),
        r"reset\(\): found a frame uint8 \(64, 64, 3\), expected uint8 \(3, 64, 64\)",
    ),
    "dtype": (
        seeing(frame=lambda step: step.frame / 255),
        r"reset\(\): found a frame float64 \(3, 64, 64\), expected uint8 \(3, 64, 64\)",
    ),
    "no array": (seeing(frame=None), r"reset\(\): found a frame NoneType, expected uint8 \(3, 64, 64\)"),
    "frames in evaluation": (
        lambda environment, evaluation: seeing(frame=None)(environment, evaluation) if evaluation else environment,
        r"reset\(\): found a frame NoneType, expected uint8 \(3, 64, 64\)",
    ),
    "no step": (
        with_attributes(step=lambda action: (np.zeros((3, 64, 64), np.uint8), 0.0, False)),
        r"step\(\): found tuple, expected Step",
    ),
    "reward": (seeing(reward=float("nan")), r"step\(\): found the reward nan, expected a finite float"),
    "no number": (seeing(reward="1"), r"step\(\): found the reward '1', expected a finite float"),
    "randomness": (
        seeing(frame=lambda step: noise()),
        f"the same seed again: found {FRAME} at moment 0, expected {FRAME}",
    ),
    "no bytes": (with_attributes(get_state=lambda: None), r"get_state\(\): found NoneType, expected bytes"),
    "forgotten": (
        with_attributes(set_state=lambda state: None),
        rf"another instance after set_state\(\): found {FRAME} at moment 0, expected {FRAME}",
    ),
    "refused": (with_attributes(get_state=lambda: b"1"), "not an environment's state: found b'1', .*"),
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENVIRONMENTS, "_foreign", [*ENVIRONMENTS._foreign, BrokenConfig])


class Careless(Pushed):
    def step(self, action: Any) -> Step:
        return super().step(np.nan_to_num(action, nan=0.0))


def test_an_environment_that_takes_nan_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PushedConfig, "build", lambda self, seed, evaluation=False: Careless(self, seed))
    with pytest.raises(
        ValueError, match=r"^step\(\): took the action \[nan nan\], expected a ValueError: it is not 2 num"
    ):
        check_environment(PushedConfig())


KEEPING = [
    AtariConfig(),
    AtariConfig(channels="moments"),
    CatchConfig(),
    CrafterConfig(),
    CorridorConfig(),
    PushedConfig(),
    BrokenConfig(),
]


@pytest.mark.parametrize("config", KEEPING)
def test_an_environment_that_keeps_its_promises_passes(config: EnvironmentConfig):
    check_environment(config)


@pytest.mark.parametrize(("change", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_is_one_line_with_found_and_expected(
    change: Callable[[Broken, bool], Any], says: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(globals(), "change", change)
    with pytest.raises(ValueError, match=f"^{says}$"):
        check_environment(BrokenConfig())


def test_the_frame_after_an_end_may_be_any(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(globals(), "change", seeing(frame=lambda step: noise() if step.ended else step.frame))
    check_environment(BrokenConfig(max_steps=3))


def test_a_run_on_a_broken_environment_is_one_line_before_anything_starts(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(globals(), "change", BROKEN["dtype"][0])
    config = preset("debug").model_copy(update={"env": BrokenConfig()})
    with pytest.raises(SystemExit) as left:
        command(lambda: train.train(Launch(config=config, run_dir=tmp_path / "run")))
    said = capsys.readouterr()
    assert (left.value.code, said.out) == (2, "")
    assert re.fullmatch(f"error: --env: {BROKEN['dtype'][1]}\n", said.err)
    assert list(tmp_path.iterdir()) == []
