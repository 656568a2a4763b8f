"""What playing without looking scores: known values, an action that is plainly the best, and who may not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import cluster.this_process
from actors.config import EnvironmentConfig, EvaluationProtocol, RoomsConfig
from actors.envs.environment import Step
from learners.action_space import Discrete
from pipeline.config import RunConfig
from pipeline.evaluation import Evaluation
from pipeline.floor import CHOOSING_EPISODES, play_blind, play_floor
from pipeline.players import Plan
from pipeline.presets import preset
from pipeline.scores.finished_runs import read_runs
from tests.pipeline.scores.runs import evaluation, write_run

CATCH = preset("catch")
DEBUG = preset("debug")
STEPS = 20
HOW: dict[str, Any] = {"iteration": 2, "evaluators": 1, "in_process": True}
BUILT: list[int] = []
"""Seeds of the levers, in the order in which they were built."""


class LeversConfig(EnvironmentConfig):
    """Four levers, one of which pays 1 at each step and the others nothing, for 20 steps."""

    kind: str = "levers"
    pays: int = 2

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {"environment": "levers"}

    def build(self, seed: int, *, evaluation: bool = False) -> Levers:
        if evaluation:
            BUILT.append(seed)
        return Levers(self.pays)


class Levers:
    action_space = Discrete(4)
    action_names = ("A", "B", "C", "D")

    def __init__(self, pays: int) -> None:
        self._pays = pays
        self._left = STEPS

    def reset(self) -> NDArray[np.uint8]:
        return np.zeros((3, 64, 64), np.uint8)

    def step(self, action: int) -> Step:
        self._left -= 1
        return Step(self.reset(), float(action == self._pays), terminated=self._left == 0, truncated=False)

    def get_state(self) -> bytes:
        return bytes([self._left])

    def set_state(self, state: bytes) -> None:
        (self._left,) = state


def levers(pays: int, **changes: Any) -> RunConfig:
    evaluation = DEBUG.evaluation.model_copy(update={"envs_per_evaluator": 5, **changes})
    return DEBUG.model_copy(update={"env": LeversConfig(pays=pays), "evaluation": evaluation})


def is_near(found: Evaluation, expected: float) -> bool:
    """Within four of its standard errors, which are small."""
    return abs(found.score_mean - expected) < 4 * found.standard_error < 1.0


@pytest.mark.parametrize("agent", ["random", "leaning"])
def test_who_does_not_look_catches_one_ball_in_five(agent: Literal["random", "leaning"]):
    """The ball's column is uniform among five, whatever the paddle does: the mean is 0.2 - 0.8."""
    assert is_near(play_floor(CATCH, agent, episodes=300, in_process=True), -0.6)


@pytest.mark.parametrize("pays", range(4))
def test_leaning_finds_the_lever_that_pays_and_random_play_pulls_it_in_a_quarter_of_all_steps(pays: int):
    leaning = play_floor(levers(pays), "leaning", episodes=100, in_process=True)
    assert leaning.protocol["half of all actions"] == "ABCD"[pays]
    assert leaning.protocol["chosen by episodes of each action"] == CHOOSING_EPISODES
    assert is_near(leaning, STEPS * (0.5 + 0.5 / 4))
    random = play_floor(levers(pays), "random", episodes=100, in_process=True)
    assert is_near(random, STEPS / 4)
    assert "half of all actions" not in random.protocol


def test_who_stands_still_reaches_the_goals_that_it_starts_at():
    def floors(radius: float) -> dict[str, float]:
        env = RoomsConfig(radius=radius, evaluation_steps=30)
        plan = Plan(env, DEBUG.evaluation, seeds=(0, 1), episodes=10)
        space = env.build(0).action_space
        return play_blind(space, plan, DEBUG.cluster, **HOW)

    assert floors(100.0) == {"random": 1.0, "standing still": 1.0}
    nearer = floors(36.0)
    assert 0.0 < nearer["standing still"] < 1.0
    assert nearer["standing still"] < nearer["random"]
    assert list(play_blind(Discrete(3), Plan(CATCH.env, DEBUG.evaluation, (0,), 2), DEBUG.cluster, **HOW)) == ["random"]


def test_exploration_and_temperature_are_those_that_the_protocol_states():
    """Applied to it, they would make of leaning play uniform, or nearly greedy play."""
    found = play_floor(levers(1, epsilon=1.0, temperature=0.1), "leaning", episodes=100, in_process=True)
    assert found == play_floor(levers(1), "leaning", episodes=100, in_process=True)
    assert (found.protocol["epsilon"], found.protocol["temperature"]) == (0.0, 1.0)


def test_games_that_choose_are_the_same_for_all_actions_and_none_of_those_that_count():
    BUILT.clear()
    found = play_floor(levers(3), "leaning", seeds=(7, 8), episodes=10, in_process=True)
    assert found.protocol["chosen by episodes of each action"] == 2 * CHOOSING_EPISODES
    choosing, scored = BUILT[:-20], BUILT[-20:]
    first, *others = [choosing[i : i + 2 * CHOOSING_EPISODES] for i in range(0, len(choosing), 2 * CHOOSING_EPISODES)]
    assert others == [first] * 3
    assert len(set(first) | set(scored)) == 2 * CHOOSING_EPISODES + 20


@pytest.mark.parametrize("agent", ["random", "leaning"])
def test_the_same_seeds_give_the_same_scores_whoever_plays_and_others_others(
    monkeypatch: pytest.MonkeyPatch, agent: Literal["random", "leaning"]
):
    monkeypatch.setattr(cluster.this_process, "num_cores", lambda: 3)
    config = levers(0)
    first, second, other = (
        play_floor(config, agent, seeds=seeds, in_process=True) for seeds in ((4, 9), (4, 9), (5, 9))
    )
    assert first == second
    assert first.episodes[:3] != other.episodes[:3]
    assert first.episodes[3:] == other.episodes[3:]
    for evaluators in (1, 2, 3):
        assert play_floor(config, agent, seeds=(4, 9), evaluators=evaluators, in_process=True) == first


def test_a_preset_is_played_with_its_own_seed_as_often_as_after_its_last_iteration():
    found = play_floor(DEBUG, "random", in_process=True)
    assert found == play_floor(DEBUG, "random", seeds=(DEBUG.seed,), episodes=3, in_process=True)
    assert len(found.episodes) == DEBUG.evaluation.final_episodes == 3


def test_a_report_takes_no_floor_for_the_score_of_a_run(tmp_path: Path):
    run = write_run(tmp_path, "catch", 0, 0.75, preset="debug")
    found = play_floor(DEBUG, "random", in_process=True)
    (run / "evaluation.json").write_bytes(found.to_bytes())
    (score,), notes = read_runs([tmp_path])
    assert score.score == 0.75
    assert notes == [f"not used, of other weights than the last commit: {run / 'evaluation.json'}"]


def test_the_standard_error_is_of_a_sample():
    found = evaluation(DEBUG, 3.0).model_copy(update={"score_std": (14 / 4) ** 0.5})  # of 1, 2, 3 and 6
    episodes = [found.episodes[0]] * 4
    assert found.model_copy(update={"episodes": episodes}).standard_error == pytest.approx((14 / 3 / 4) ** 0.5)
    assert np.isnan(found.model_copy(update={"episodes": episodes[:1]}).standard_error)
