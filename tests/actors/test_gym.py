from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import MultiBinary
from PIL import Image

from actors.config import GymConfig
from actors.envs.check import check_environment
from actors.envs.gym import Gym
from learners.action_space import Box, Discrete

gymnasium.register_envs(ale_py)


class Walk(gymnasium.Env):
    """A noisy walk shown as one grey; the first of its three actions, numbered from -1, walks back. Ends below 0."""

    def __init__(self, shape=(8, 10), actions=None, space=None):
        self.shape = shape
        self.action_space = spaces.Discrete(3, start=-1) if actions is None else actions
        self.observation_space = spaces.Box(0, 255, shape, np.uint8) if space is None else space
        self.place = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(40, 60))
        return self.see(), {}

    def step(self, action):
        assert action in self.action_space
        self.place += 3 * int(action) + int(self.np_random.integers(2))
        return self.see(), float(action), self.place < 0, False, {}

    def see(self) -> Any:
        return np.full(self.shape, self.place % 256, np.uint8)


class Saved(Walk):
    """A walk that saves itself."""

    num_restored = 0

    def get_state(self):
        return json.dumps([self.place, self.np_random.bit_generator.state]).encode()

    def set_state(self, state):
        type(self).num_restored += 1
        self.place, self.np_random.bit_generator.state = json.loads(state)


class Texts(Walk):
    def get_state(self):
        return "somewhere"

    def set_state(self, state):
        raise AssertionError


class Chance(Walk):
    """Not deterministic: chance is drawn outside the seeded generator."""

    flips = np.random.default_rng(0)

    def step(self, action):
        self.place += int(self.flips.integers(1000))
        return super().step(action)


class Short(Walk):
    """Ends one step earlier in every new episode object."""

    steps_left = 12

    def reset(self, *, seed=None, options=None):
        type(self).steps_left -= 1
        self.left = type(self).steps_left
        return super().reset(seed=seed)

    def step(self, action):
        self.left -= 1
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.left <= 0, False, info


class Steered(Walk):
    """Its actions are four numbers in a square, float64; their sum moves it."""

    def __init__(self):
        super().__init__(actions=spaces.Box(-0.1, 0.3, (2, 2), np.float64))

    def step(self, action):
        assert action in self.action_space, action
        self.place += int(100 * action.sum()) + int(self.np_random.integers(2))
        return self.see(), float(action[1, 0]), self.place < 0, False, {}


class Drawn(Walk):
    """Observes a number and draws the walk, or something that is no picture."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 - Gymnasium's own
    picture: Any = None

    def __init__(self, render_mode=None):
        super().__init__(space=spaces.Box(-1e9, 1e9, (), np.float64))
        self.render_mode = render_mode

    def see(self):
        return np.float64(self.place)

    def render(self):
        return np.full((30, 50, 3), self.place % 256, np.uint8) if self.picture is None else self.picture


KINDS = {
    "Drawn": Drawn,
    "Walk": Walk,
    "Saved": Saved,
    "Texts": Texts,
    "Chance": Chance,
    "Short": Short,
    "Steered": Steered,
}


@pytest.fixture(autouse=True)
def registered():
    for name, cls in KINDS.items():
        gymnasium.register(f"Test{name}-v0", cast(Any, cls), max_episode_steps=30)
    yield
    for name in KINDS:
        del gymnasium.registry[f"Test{name}-v0"]


def make(name: str, seed: int = 0) -> Gym:
    return Gym(GymConfig(id=f"Test{name}-v0"), seed)


def inside(env: Gym) -> Any:
    """The environment itself."""
    return env._env.unwrapped


def play(env: Gym, actions: Iterable[Any]) -> list[Any]:
    """What the actions show; the episode must not end on the way."""
    shown = []
    for action in actions:
        step = env.step(action)
        shown.append((step.frame.tobytes(), step.reward, step.ended))
    return shown


ACTIONS = np.random.default_rng(0).integers(1, 3, size=25).tolist()


def test_grey_frames_are_repeated_to_rgb_and_resized():
    env = make("Walk")
    frame = env.reset()
    place = inside(env).place
    assert (frame.shape, frame.dtype, frame.flags.c_contiguous) == ((3, 64, 64), np.uint8, True)
    assert (frame == place).all()


def test_rgb_frames_are_resized_as_pillow_does():
    env = Gym(GymConfig(id="ale_py:BreakoutNoFrameskip-v4"), 0)
    env.reset()
    frame = env.step(1).frame
    raw = inside(env).ale.getScreenRGB()
    expected = np.asarray(Image.fromarray(raw).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(frame, expected.transpose(2, 0, 1))
    assert env.action_space == Discrete(4)


def test_actions_count_from_zero_whatever_the_environment_does():
    env = make("Walk")
    assert (env.action_space, env.action_names) == (Discrete(3), ("-1", "0", "1"))
    env.reset()
    assert [env.step(action).reward for action in (0, 1, 2)] == [-1.0, 0.0, 1.0]
    for action in (-1, 3):
        with pytest.raises(ValueError, match=rf"found {action}, expected 0\.\.2"):
            env.step(action)


def test_a_box_of_floats_is_numbers_in_a_row():
    env, restored = make("Steered"), make("Steered", 5)
    box = Box((-0.1,) * 4, (0.3,) * 4)
    assert env.action_space == box
    assert env.action_names == ("0", "1", "2", "3")
    env.reset()
    actions = box.sample(np.random.default_rng(0), 12)
    actions[0], actions[1] = box.low, box.high  # as float32 beyond the float64's bounds
    first = play(env, actions[:6])
    assert [reward for _, reward, _ in first[2:]] == actions[2:6, 2].tolist()
    restored.set_state(env.get_state())
    assert play(restored, actions[6:]) == play(env, actions[6:])
    with pytest.raises(ValueError, match=r"^unknown action: found float32 \[nan, "):
        env.step(np.full(4, np.nan, np.float32))


def test_a_real_end_is_terminated_and_the_ids_limit_truncated():
    env = make("Walk")
    env.reset()
    ends = [env.step(1) for _ in range(30)]
    assert not any(end.ended for end in ends[:-1])
    assert (ends[-1].terminated, ends[-1].truncated) == (False, True)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(1)
    env.reset()
    while not (end := env.step(0)).ended:
        pass
    assert (end.terminated, end.truncated) == (True, False)


def test_an_end_in_the_step_of_the_limit_is_terminated_only():
    env = make("Walk")
    env.reset()
    play(env, [1] * 29)
    inside(env).place = 0
    end = env.step(0)
    assert (end.terminated, end.truncated) == (True, False)


def test_every_episode_has_its_own_seed():
    def starts(seed: int) -> list[int]:
        env = make("Walk", seed)
        return [int(env.reset()[0, 0, 0]) for _ in range(12)]

    assert starts(0) == starts(0)
    assert len({tuple(starts(seed)) for seed in range(4)}) == 4
    assert len(set(starts(0))) > 4


@pytest.mark.parametrize("name", ["Walk", "Saved"])
def test_a_running_episode_goes_on_identically(name: str):
    env, restored = make(name, 1), make(name, 2)
    env.reset()
    env.reset()
    restored.reset()
    play(restored, ACTIONS[:3])
    play(env, ACTIONS[:10])
    restored.set_state(env.get_state())
    assert play(restored, ACTIONS[10:25]) == play(env, ACTIONS[10:25])
    assert [restored.step(1).truncated for _ in range(5)] == [False] * 4 + [True]  # the limit counts from the start
    play(env, [1] * 5)
    np.testing.assert_array_equal(restored.reset(), env.reset())
    assert restored.get_state() == env.get_state()


def test_an_environments_own_state_is_used_where_it_has_one():
    Saved.num_restored = 0
    env, restored = make("Saved"), make("Saved")
    env.reset()
    play(env, ACTIONS[:10])
    restored.set_state(env.get_state())
    assert Saved.num_restored == 1


def test_states_outside_an_episode_restore():
    env, restored = make("Walk", 1), make("Walk", 2)
    restored.reset()
    restored.set_state(env.get_state())
    with pytest.raises(RuntimeError, match="reset"):
        restored.step(1)
    np.testing.assert_array_equal(restored.reset(), env.reset())
    play(env, [1] * 30)
    restored.set_state(env.get_state())
    with pytest.raises(RuntimeError, match="reset"):
        restored.step(1)
    np.testing.assert_array_equal(restored.reset(), env.reset())


def test_an_atari_game_replays_to_its_state():
    config = GymConfig(id="ale_py:ALE/Pong-v5")  # sticky actions: its chance is seeded
    env, restored = Gym(config, 5), Gym(config, 6)
    env.reset()
    actions = np.random.default_rng(0).integers(6, size=60).tolist()
    play(env, actions[:40])
    restored.set_state(env.get_state())
    assert play(restored, actions[40:]) == play(env, actions[40:])


def test_an_environment_that_does_not_replay_is_refused_in_one_line():
    env = make("Chance")
    env.reset()
    play(env, ACTIONS[:5])
    with pytest.raises(
        ValueError, match="TestChance-v0 is not deterministic: after 5 replayed steps of episode 1"
    ) as e:
        make("Chance").set_state(env.get_state())
    assert "\n" not in str(e.value)


def test_an_episode_that_ends_in_its_replay_is_refused():
    env = make("Short")
    env.reset()
    play(env, ACTIONS[:10])  # of 11
    with pytest.raises(ValueError, match="replayed episode 1 ended at step 10, expected to run after step 10"):
        make("Short").set_state(env.get_state())


def test_a_state_that_is_not_bytes_is_refused():
    env = make("Texts")
    env.reset()
    with pytest.raises(ValueError, match=r"TestTexts-v0: get_state\(\) must return bytes: found str"):
        env.get_state()


def test_another_ids_state_is_refused():
    with pytest.raises(ValueError, match="found 'TestWalk-v0', expected 'TestSaved-v0'"):
        make("Saved").set_state(make("Walk").get_state())


@pytest.mark.parametrize(
    ("environment_id", "hint"),
    [
        ("TestWolk-v0", "nearest id 'TestWalk-v0'"),
        ("PongNoFrameskip-v5", "nearest id 'PongNoFrameskip-v4'"),
        ("no_such_module_here:Walk-v0", "No module named 'no_such_module_here'"),
        ("", "expected Name-v0"),
        ("not an id", "expected Name-v0"),
    ],
)
def test_an_unknown_id_is_refused_in_one_line(environment_id: str, hint: str):
    with pytest.raises(ValueError, match="unknown Gymnasium environment") as error:
        Gym(GymConfig(id=environment_id), 0)
    message = str(error.value)
    assert f"found {environment_id!r}" in message
    assert hint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"space": spaces.Box(-1, 1, (4,), np.float32)}, "observations Box"),
        ({"space": spaces.Box(0, 1, (8, 8, 3), np.float32)}, "observations Box"),
        ({"shape": (8, 8, 4)}, "observations Box"),
        ({"shape": (8,)}, "observations Box"),
        ({"space": spaces.Discrete(4)}, r"observations Discrete\(4\)"),
        ({"actions": MultiBinary(3)}, r"actions MultiBinary\(3\), expected Discrete, or a bounded"),
        ({"actions": spaces.Box(-np.inf, 1.0, (2,))}, r"actions Box\(.*\), expected Discrete, or a bounded"),
        (
            {"actions": spaces.Box(0, 5, (2,), np.int32)},
            r"actions Box\(.*\), expected Discrete, or a bounded",
        ),
    ],
)
def test_other_spaces_are_refused_in_one_line(settings: dict[str, Any], found: str):
    gymnasium.register("TestSpaces-v0", cast(Any, Walk), kwargs=settings)
    with pytest.raises(ValueError, match=f"TestSpaces-v0: found {found}") as error:
        Gym(GymConfig(id="TestSpaces-v0"), 0)
    assert "\n" not in str(error.value)
    del gymnasium.registry["TestSpaces-v0"]


def test_what_an_environment_draws_of_itself_can_be_what_is_seen(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"^TestDrawn-v0: found observations Box.*, expected a uint8 Box of shape"):
        make("Drawn")
    config = GymConfig(id="TestDrawn-v0", frames="rendered")
    check_environment(config)
    env, other = Gym(config, 0), Gym(config, 0)
    frame = env.reset()
    assert (frame == inside(env).place).all()
    frame = env.step(2).frame
    assert (frame == inside(env).place).all()
    other.set_state(env.get_state())
    assert (other.step(1).frame == env.step(1).frame).all()
    monkeypatch.setattr(Drawn, "picture", [[1]])
    with pytest.raises(ValueError, match=r"^TestDrawn-v0: found list rendered, expected a uint8 array \(H, W, 3\)$"):
        env.reset()
    monkeypatch.setattr(Drawn, "picture", np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"found float64 \(4, 4\) rendered"):
        env.reset()


def test_who_cannot_draw_is_refused():
    with pytest.raises(ValueError, match=r"^unknown Gymnasium environment: found 'TestWalk-v0'.*render_mode"):
        Gym(GymConfig(id="TestWalk-v0", frames="rendered"), 0)


def test_a_strangers_environment_replays_its_physics():
    config = GymConfig(id="gym_pusht:gym_pusht/PushT-v0", frames="rendered")
    check_environment(config)
    env, other = Gym(config, 0), Gym(config, 1)
    assert env.action_space == Box((0.0, 0.0), (512.0, 512.0))
    env.reset()
    for action in env.action_space.sample(np.random.default_rng(0), 40):
        env.step(action)
    other.set_state(env.get_state())
    for action in env.action_space.sample(np.random.default_rng(1), 5):
        mine, others = env.step(action), other.step(action)
        assert (mine.frame == others.frame).all()
        assert mine.reward == others.reward
