"""A dream is a Gymnasium environment: it passes Gymnasium's own check, repeats, and a stranger's agent learns in it."""

from __future__ import annotations

import warnings
from hashlib import sha256
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO

from pipeline.errors import UsageError
from pipeline.imagined import ID, Imagined, ImaginedTogether
from pipeline.train import main as train

LATE = ["--algorithm.world-model.training.starts-after", "1"]
PRESETS = {"iris": "debug", "delta-iris": "delta-iris-debug"}


@pytest.fixture(scope="module", params=PRESETS.values(), ids=list(PRESETS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    assert train([request.param, "--in-process", "--run-dir", str(path)]) == 0
    return path


def test_gymnasium_finds_it_and_has_nothing_to_object(run: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gymnasium.make(f"pipeline.imagined:{ID}", run=run, render_mode="rgb_array", disable_env_checker=True)
        check_env(made.unwrapped)
    assert isinstance(made.unwrapped, Imagined)


def episode(env: gymnasium.Env, seed: int, steps: int) -> tuple[str, list[float]]:
    """A hash of all frames, and the rewards."""
    frame, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    seen, rewards = sha256(frame.tobytes()), []
    for _ in range(steps):
        frame, reward, _, _, _ = env.step(env.action_space.sample())
        seen.update(frame.tobytes())
        rewards.append(float(reward))
    return seen.hexdigest(), rewards


def test_the_same_seed_dreams_the_same_and_another_does_not(run: Path):
    env = Imagined(run)
    first = episode(env, 1, 12)
    assert episode(Imagined(run), 1, 12) == first
    assert episode(env, 2, 12) != first


def test_an_episode_ends_where_it_is_told_to(run: Path):
    env = Imagined(run, horizon=5)
    env.reset(seed=0)
    assert [env.step(np.int64(0))[3] for _ in range(5)] == [False] * 4 + [True]


def test_a_strangers_agent_trains_in_it(run: Path):
    agent = PPO("CnnPolicy", Imagined(run, horizon=16), n_steps=32, batch_size=16, n_epochs=1, seed=0, device="cpu")
    before = [parameter.clone() for parameter in agent.policy.parameters()]
    agent.learn(64)
    assert agent.num_timesteps == 64
    assert any(not torch.equal(*each) for each in zip(before, agent.policy.parameters(), strict=True))
    assert agent.predict(Imagined(run).reset(seed=0)[0], deterministic=True)[0] in range(3)


def test_dreams_side_by_side_begin_together_and_who_has_ended_waits(run: Path):
    env = gymnasium.make_vec(f"pipeline.imagined:{ID}", run=run, num_envs=8, horizon=40)
    assert isinstance(env.unwrapped, ImaginedTogether)
    frames, _ = env.reset(seed=3)
    assert env.observation_space.contains(frames)
    ended, was_truncated = np.zeros(8, bool), np.zeros(8, bool)
    for step in range(40):
        before, (frames, rewards, ends, truncated, _) = frames, env.step(env.action_space.sample())
        assert (frames.shape, frames.dtype, rewards.shape) == ((8, 64, 64, 3), np.uint8, (8,))
        assert np.array_equal(frames[ended], before[ended])
        assert not rewards[ended].any()
        assert not ends[ended].any()
        ended |= ends
        was_truncated |= truncated
        assert truncated.any() == (step == 39 and not ended.all())
    assert (ended | was_truncated).all()
    with pytest.raises(ValueError, match="reset_mask: found some dreams, expected all"):
        env.reset(options={"reset_mask": np.arange(8) < 3})


def test_one_of_a_batch_is_what_it_would_be_alone_up_to_rounding(run: Path):
    together, alone = ImaginedTogether(run, num_envs=1), Imagined(run)
    frames, _ = together.reset(seed=5)
    frame, _ = alone.reset(seed=5)
    assert np.array_equal(frames[0], frame)


def test_a_run_without_a_trained_world_model_says_from_when_on_there_is_one(tmp_path: Path):
    run = tmp_path / "young"
    assert train(["debug", "--in-process", "--run-dir", str(run), "--iterations", "1", *LATE]) == 0
    with pytest.raises(UsageError, match=r"^no dream yet: found no training of its .* until iteration 1, the last co"):
        Imagined(run)


def test_nothing_to_dream_is_one_line(run: Path):
    with pytest.raises(ValueError, match=r"^horizon: found 0, expected at least 1$"):
        Imagined(run, horizon=0)
    with pytest.raises(ValueError, match=r"^num_envs: found -1, expected at least 1$"):
        ImaginedTogether(run, num_envs=-1)


def test_what_is_no_run_is_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match=r"found no run there, expected a directory with config\.json$"):
        Imagined(tmp_path)
