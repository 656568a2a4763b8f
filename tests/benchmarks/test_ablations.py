"""What an ablation takes away, and nothing else."""

import numpy as np
import pytest

from benchmarks.ablations import ABLATIONS, ablate, shuffled_rewards, table, with_settings
from pipeline.presets import preset
from tests.learners.fakes import iris_of, make_chunk

CATCH = preset("catch")
DEBUG = preset("debug")

CONFIG = DEBUG.model_copy(update={"iterations": 2})


def test_shuffled_rewards_are_the_same_rewards_elsewhere():
    chunk = make_chunk([30, 30])
    shuffled = shuffled_rewards(chunk, seed=0)
    assert sorted(shuffled.rewards) == sorted(chunk.rewards)
    assert (shuffled.rewards != chunk.rewards).any()
    assert np.array_equal(shuffled_rewards(chunk, seed=0).rewards, shuffled.rewards)
    assert np.array_equal(shuffled.frames, chunk.frames)


def test_settings_are_replaced_where_they_are_and_refused_where_they_are_not():
    changed = with_settings(CATCH, {"algorithm.actor_critic.entropy_weight": 0.0})
    assert iris_of(changed).actor_critic.entropy_weight == 0.0
    assert (
        with_settings(changed, {"algorithm.actor_critic.entropy_weight": iris_of(CATCH).actor_critic.entropy_weight})
        == CATCH
    )
    with pytest.raises(KeyError, match=r"'algorithm\.actor_critic\.entropy'"):
        with_settings(CATCH, {"algorithm.actor_critic.entropy": 0.0})


@pytest.mark.parametrize(
    ("name", "untrained"),
    [("nothing", None), ("world model untrained", "world_model"), ("tokenizer frozen at initialisation", "tokenizer")],
)
def test_what_is_not_trained_is_the_named_part_alone(name: str, untrained: str | None):
    trained = ablate(CONFIG, name)["iterations_trained"]
    assert trained == {part: 0 if part == untrained else 2 for part in CONFIG.trainings}


def test_no_ablation_waits_for_what_never_comes():
    """An untrained part opens no gate."""
    for ablation in ABLATIONS.values():
        config = with_settings(CATCH, ablation.settings)
        for gate in config.algorithm.gates:
            assert config.trainings[gate.part].starts_after < config.iterations


def test_the_table_has_the_mean_and_its_standard_error():
    rows = [{"without": "nothing", "seed": seed, "score_mean": score} for seed, score in enumerate((0.0, 1.0, 2.0))]
    assert table(rows) == [{"without": "nothing", "seeds": 3, "score": 1.0, "standard_error": 0.577}]
    assert table(rows[:1])[0]["standard_error"] is None
