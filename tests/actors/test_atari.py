"""Atari against a slow implementation of the same protocol: Gymnasium's own environment in naive wrappers, in order."""

from __future__ import annotations

from collections import Counter
from itertools import count, pairwise
from typing import Any, cast

import ale_py
import gymnasium
import numpy as np
import pytest
from PIL import Image

from actors.config import AtariConfig
from actors.envs import atari
from actors.envs.atari import Atari
from actors.envs.environment import Step
from actors.envs.state import restore_generator, unpack

gymnasium.register_envs(ale_py)


class Resize(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return np.array(Image.fromarray(observation).resize((64, 64), Image.Resampling.BILINEAR))


class NoopReset(gymnasium.Wrapper):
    def __init__(self, env, max_noops, generator):
        super().__init__(env)
        self.max_noops, self.generator = max_noops, generator

    def reset(self, **_):
        frame, info = self.env.reset()
        for _ in range(self.generator.integers(1, self.max_noops, endpoint=True)):
            frame, _, terminated, truncated, info = self.env.step(0)
            if terminated or truncated:
                frame, info = self.env.reset()
        return frame, info


class MaxAndSkip(gymnasium.Wrapper):
    def __init__(self, env, skip):
        super().__init__(env)
        self.skip = skip

    def step(self, action):
        frames, total = [], 0.0
        while True:
            frame, reward, terminated, truncated, info = self.env.step(action)
            frames.append(frame)
            total += float(reward)
            if terminated or truncated or len(frames) == self.skip:
                return np.max(frames[-2:], axis=0), total, terminated, truncated, info


class EpisodicLife(gymnasium.Wrapper):
    def __init__(self, env, log):
        super().__init__(env)
        self.lives, self.game_ended, self.log = 0, True, log

    def step(self, action):
        frame, reward, terminated, truncated, info = self.env.step(action)
        self.game_ended = terminated or truncated
        lost = 0 < info["lives"] < self.lives
        self.lives = info["lives"]
        self.log.update(life_lost=lost, game_over=terminated, limit=truncated, lost_at_limit=lost and truncated)
        return frame, reward, terminated or lost, truncated, info

    def reset(self, **_):
        if not self.game_ended:
            frame, _, terminated, truncated, info = self.env.step(0)
            self.game_ended = terminated or truncated
            self.lives = info["lives"]
            self.log.update(went_on=not self.game_ended, ended_going_on=self.game_ended)
            if not self.game_ended:
                return frame, info
        frame, info = self.env.reset()
        self.log.update(true_reset=1)
        self.lives = info["lives"]
        return frame, info


def naive(config: AtariConfig, game: Atari, log: Counter[str], *, evaluation: bool = False) -> gymnasium.Env:
    """The published wrappers in the published order, with the no-op counts that `game` is about to draw."""
    env = gymnasium.make(f"{config.game}NoFrameskip-v4")
    env = gymnasium.wrappers.TimeLimit(Resize(env), config.evaluation_max_frames if evaluation else config.max_frames)
    generator = restore_generator(unpack("atari", game.get_state(), atari._FIELDS)["noops"])
    env = NoopReset(env, 1 if evaluation else config.max_noops, generator)
    env = MaxAndSkip(env, config.frame_skip)
    return env if evaluation else EpisodicLife(env, log)


def play_both(config: AtariConfig, num_steps: int, *, seed: int = 0, evaluation: bool = False) -> Counter[str]:
    """Plays `num_steps` random steps in both and compares all they show; what happened on the way."""
    log: Counter[str] = Counter()
    game = Atari(config, seed, evaluation=evaluation)
    oracle = naive(config, game, log, evaluation=evaluation)
    actions = np.random.default_rng(seed).integers(game.action_space.count, size=num_steps)
    ended = True
    for action in actions.tolist():
        if ended:
            np.testing.assert_array_equal(game.reset(), oracle.reset()[0].transpose(2, 0, 1))
        step = game.step(action)
        frame, reward, terminated, truncated, _ = oracle.step(action)
        assert (step.reward, step.terminated, step.truncated) == (reward, terminated, truncated and not terminated)
        assert step.frame.dtype == np.uint8
        assert step.frame.flags.c_contiguous
        if not step.ended:
            np.testing.assert_array_equal(step.frame, frame.transpose(2, 0, 1))
        log.update(rewarded=reward != 0, terminated=step.terminated, truncated=step.truncated)
        ended = step.ended
    return log


def until_end(game: Atari, action: int = 0) -> tuple[int, Step]:
    """Steps with one action to the episode's end; how many, and the last."""
    for steps in count(1):
        step = game.step(action)
        if step.ended:
            return steps, step
    raise AssertionError


def test_training_plays_pixel_for_pixel_as_the_published_wrappers():
    log = play_both(AtariConfig(game="Breakout"), 700)
    assert log["life_lost"] >= 8
    assert log["game_over"] >= 2
    assert log["true_reset"] >= 3
    assert log["rewarded"] >= 4


def test_the_frame_limit_is_that_of_the_published_wrappers():
    log = play_both(AtariConfig(game="Breakout", max_frames=333), 500)
    assert log["truncated"] >= 4
    assert log["went_on"] >= 3


def test_evaluation_plays_as_the_published_wrappers_without_life_loss_ends():
    log = play_both(AtariConfig(game="Breakout", evaluation_max_frames=900), 500, evaluation=True)
    assert log["truncated"] + log["terminated"] == 2
    assert play_both(AtariConfig(game="Pong"), 90, evaluation=True)["rewarded"] >= 1


@pytest.mark.parametrize("frame_skip", [1, 2, 3])
def test_every_frame_skip_takes_the_maximum_of_its_last_two_frames(frame_skip: int):
    play_both(AtariConfig(game="Seaquest", frame_skip=frame_skip), 120)


def test_a_game_that_ends_among_its_no_ops_starts_again():
    log = play_both(AtariConfig(game="Breakout", max_frames=8, max_noops=30), 25)
    assert log["truncated"] >= 10  # of 25 steps of 4 frames, after resets that mostly draw 8 no-ops or more


def first_life_loss(config: AtariConfig) -> tuple[int, int]:
    """Steps of action 1 (FIRE) until the first lost life, and the raw frames since the reset, by the slow oracle."""
    oracle = naive(config, Atari(config, 0), Counter())
    oracle.reset()
    for steps in count(1):
        if oracle.step(1)[2]:
            return steps, oracle.get_wrapper_attr("_elapsed_steps")
    raise AssertionError


def test_a_limit_hit_while_the_game_goes_on_after_a_lost_life_starts_a_new_game():
    config = AtariConfig(game="Breakout")
    steps, frames = first_life_loss(config)
    game = Atari(config.model_copy(update={"max_frames": frames + 2}), 0)
    first = game.reset()
    assert until_end(game, action=1)[0] == steps
    lives_shown = game.reset()  # the no-op step would take 4 frames, the limit allows 2
    np.testing.assert_array_equal(lives_shown[:, :14], first[:, :14])  # score and lives of a new game
    assert until_end(game, action=1)[1].terminated
    game = Atari(config, 0)
    first = game.reset()
    until_end(game, action=1)
    assert (game.reset()[:, :14] != first[:, :14]).any()


def test_a_life_lost_in_the_step_that_hits_the_limit_is_terminated_and_a_new_game_follows():
    config = AtariConfig(game="Breakout")
    steps, frames = first_life_loss(config)
    game = Atari(config.model_copy(update={"max_frames": frames}), 0)
    first = game.reset()
    found_steps, last = until_end(game, action=1)
    assert (found_steps, last.terminated, last.truncated) == (steps, True, False)
    np.testing.assert_array_equal(game.reset()[:, :14], first[:, :14])


def test_a_game_over_in_the_step_that_hits_the_limit_is_terminated_only():
    config = AtariConfig(game="Breakout", ends_on_life_loss=False, frame_skip=1, max_noops=1)
    game = Atari(config, 0)
    game.reset()
    steps, last = until_end(game, action=1)
    assert (last.terminated, last.truncated) == (True, False)
    for max_frames, ends in ((1 + steps, (True, False)), (steps, (False, True))):
        game = Atari(config.model_copy(update={"max_frames": max_frames}), 0)
        game.reset()
        _, last = until_end(game, action=1)
        assert (last.terminated, last.truncated) == ends


def test_a_lost_life_ends_the_episode_but_not_the_game():
    game = Atari(AtariConfig(game="Breakout"), 0)
    ends, num_steps = [], []
    for _ in range(5):
        game.reset()
        steps, end = until_end(game, action=1)
        ends.append(end)
        num_steps.append(steps)
    assert [end.terminated for end in ends] == [True] * 5
    whole = Atari(AtariConfig(game="Breakout", ends_on_life_loss=False), 0)
    whole.reset()
    steps, end = until_end(whole, action=1)
    assert end.terminated
    assert steps > sum(num_steps[:4])


def test_the_limit_counts_no_ops_and_every_raw_frame():
    # One no-op and 4 frames a step: 10 steps are 41 frames; with one frame more the 11th step is cut after it.
    for max_frames, num_steps in ((41, 10), (42, 11), (45, 11)):
        game = Atari(AtariConfig(game="Pong", max_noops=1, max_frames=max_frames), 0)
        for _ in range(2):
            game.reset()
            steps, last = until_end(game)
            assert (steps, last.terminated, last.truncated) == (num_steps, False, True)


def test_the_limit_goes_on_over_lost_lives():
    config = AtariConfig(game="Breakout", max_noops=1)
    steps, frames = first_life_loss(config)
    assert frames == 1 + 4 * steps
    game = Atari(config.model_copy(update={"max_frames": frames + 4 + 8}), 0)
    game.reset()
    until_end(game, action=1)
    game.reset()  # 4 frames of no-op
    steps, last = until_end(game)
    assert (steps, last.truncated) == (2, True)


@pytest.mark.parametrize("config", [AtariConfig(game="Breakout"), AtariConfig(game="Pong", max_frames=31)])
def test_a_step_after_a_lost_life_or_the_limit_is_refused(config: AtariConfig):
    game = Atari(config, 0)
    game.reset()
    until_end(game, action=1)
    with pytest.raises(RuntimeError, match="reset"):
        game.step(0)


def test_training_starts_after_1_to_max_noops_frames_and_evaluation_after_one():
    # With one frame a step, the steps up to the limit tell the no-ops.
    config = AtariConfig(game="Pong", frame_skip=1, max_noops=4, max_frames=12, evaluation_max_frames=12)
    for evaluation, expected in ((False, {1, 2, 3, 4}), (True, {1})):
        game = Atari(config, 0, evaluation=evaluation)
        noops = Counter()
        for _ in range(80):
            game.reset()
            noops[12 - until_end(game)[0]] += 1
        assert noops.keys() == expected
        assert min(noops.values()) >= 10  # 20 each in expectation, standard deviation 4


def test_the_limit_of_the_ids_themselves_holds_too(monkeypatch: pytest.MonkeyPatch):
    spec = gymnasium.spec("PongNoFrameskip-v4")
    assert spec.kwargs["max_num_frames_per_episode"] == atari.ALE_MAX_FRAMES
    monkeypatch.setattr(atari, "ALE_MAX_FRAMES", 41)
    game = Atari(AtariConfig(game="Pong", evaluation_max_frames=100_000), 0, evaluation=True)
    game.reset()
    steps, last = until_end(game)
    assert (steps, last.truncated) == (10, True)  # after one no-op


def test_an_abandoned_episode_is_followed_by_a_new_game():
    game = Atari(AtariConfig(game="Breakout", max_noops=1), 0)
    first = game.reset()
    for _ in range(8):
        step = game.step(2)
        assert (step.frame != first).any()
    np.testing.assert_array_equal(game.reset(), first)


def test_actions_are_the_minimal_set_and_others_are_refused():
    game = Atari(AtariConfig(game="Breakout"), 0)
    assert game.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT")
    game.reset()
    for action in (-1, 4):
        with pytest.raises(ValueError, match=rf"found {action}, expected 0\.\.3"):
            game.step(action)


class DrawnScreens:
    """Stands for the emulator: shows the screens given, one a look."""

    def __init__(self, screens):
        self.screens = iter(screens)

    def getScreenDims(self):  # noqa: N802
        return 50, 160

    def getScreenRGB(self, buffer):  # noqa: N802
        buffer[...] = next(self.screens)


def test_rows_kept_from_the_last_screen_never_show():
    # Lines of noise come, stay, change and turn black again.
    generator = np.random.default_rng(0)
    screens = np.zeros((40, 50, 160, 3), np.uint8)
    for previous, screen in pairwise(screens):
        screen[:] = previous
        changed = generator.integers(50, size=generator.integers(4))
        screen[changed] = generator.integers(256, size=(len(changed), 160, 3)) * generator.integers(2)
    resizer = atari._Screen(cast(Any, DrawnScreens(screens)))
    for screen in screens:
        expected = np.asarray(Image.fromarray(screen).resize((64, 64), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(resizer.resized(), expected)


def test_a_step_before_the_first_reset_is_refused():
    with pytest.raises(RuntimeError, match="reset"):
        Atari(AtariConfig(game="Pong"), 0).step(0)
