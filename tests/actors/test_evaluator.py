import numpy as np
import torch

from actors.config import CatchConfig, EvaluationConfig
from actors.evaluator import Evaluator
from learners.iris.iris import Iris
from learners.weights import flat_weights
from tests.learners.fakes import TINY_AGENT


def weights(bias: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    torch.manual_seed(0)
    iris = TINY_AGENT.build()
    assert isinstance(iris, Iris)
    iris.actor_critic.policy.bias.data = torch.tensor(bias)
    return flat_weights(iris.acting_modules())


def evaluator(size: int = 4) -> Evaluator:
    return Evaluator(CatchConfig(), EvaluationConfig(envs_per_evaluator=size, temperature=1.0), TINY_AGENT, seed=0)


def test_every_episode_is_played_to_its_end_and_scored_once():
    scores, _ = evaluator().play(3, 2, 4, weights())
    assert [score.episode for score in scores] == [8, 9, 10, 11]
    assert all(score.length == 9 and score.score in (-1.0, 1.0) for score in scores)


def test_a_policy_that_stays_in_the_middle_catches_what_falls_there():
    """Catch's ball falls straight down one of five columns: staying catches one in five."""
    player, stay = evaluator(50), weights((0.0, 99.0, 0.0))
    scores = [score.score for batch in range(4) for score in player.play(1, batch, 50, stay)[0]]
    assert abs(scores.count(1.0) - 40) < 4 * (200 * 0.2 * 0.8) ** 0.5


def test_scores_do_not_depend_on_who_plays_or_what_was_played_before():
    first, second = evaluator(), evaluator()
    first.play(1, 0, 4, weights())
    assert first.play(1, 1, 4, weights())[0] == second.play(1, 1, 4, weights())[0]


def test_another_seed_plays_other_episodes_and_the_same_one_the_same():
    own, other, same = (evaluator().play(1, 0, 4, weights(), seed=seed)[0] for seed in (0, 1, 1))
    assert own == evaluator().play(1, 0, 4, weights())[0]
    assert other == same != own


def test_a_smaller_last_batch_plays_the_same_episodes():
    whole, _ = evaluator().play(1, 0, 4, weights())
    partial, _ = evaluator().play(1, 0, 2, weights())
    assert partial == whole[:2]


def test_the_first_episode_is_recorded_on_request():
    scores, frames = evaluator().play(1, 0, 4, weights(), record=True)
    assert frames.shape == (scores[0].length, 3, 64, 64)
    assert evaluator().play(1, 0, 4, weights())[1].shape == (0, 3, 64, 64)
