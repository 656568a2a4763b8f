"""When a preset counts as better than chance."""

import pytest

from actors.config import AtariConfig
from benchmarks.against_random import of_game, play_at_random, verdict
from pipeline.presets import preset

ATARI_SMALL = preset("atari-small")
DEBUG = preset("debug")

RANDOM = {"score_mean": 10.0, "score_std": 20.0, "episodes": 100}


def rows(*means: float) -> list[dict[str, float]]:
    spread = {"score_std": 30.0, "episodes": 100}
    return [{"seed": seed, "score_mean": mean, **spread} for seed, mean in enumerate(means)]


def test_the_difference_is_counted_in_its_own_standard_errors():
    found = verdict(RANDOM, rows(16.0, 20.0, 24.0))
    assert found["above_random"] == 10.0
    assert found["standard_error"] == pytest.approx((16.0 / 3 + 4.0) ** 0.5)  # of three seeds and of random play
    assert found["standard_errors_above"] == pytest.approx(10.0 / (16.0 / 3 + 4.0) ** 0.5)


def test_of_one_seed_the_episodes_are_the_sample():
    found = verdict(RANDOM, rows(16.0))
    assert "standard_error" not in found
    assert found["of_each_seed_standard_errors_above"] == [pytest.approx(6.0 / (9.0 + 4.0) ** 0.5)]


def test_another_game_is_scored_under_the_same_protocol():
    before, found = ATARI_SMALL.env, of_game(ATARI_SMALL, "Pong").env
    assert isinstance(before, AtariConfig)
    assert found == AtariConfig(game="Pong", evaluation_max_frames=before.evaluation_max_frames)
    assert before.evaluation_max_frames != AtariConfig().evaluation_max_frames
    with pytest.raises(ValueError, match="unknown Atari game"):
        of_game(ATARI_SMALL, "Pog")


def test_random_play_is_random_whatever_the_weights():
    """Catch: a random walk misses most balls."""
    found = play_at_random(DEBUG)
    assert found["episodes"] == 100
    assert -0.8 < found["score_mean"] < -0.3
