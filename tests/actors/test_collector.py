from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from actors.collector import Collector
from actors.config import CatchConfig, CollectionConfig
from actors.envs.together import InThisProcess
from actors.lockstep import Lockstep
from actors.reports import CollectionReport
from benchmarks.sink import MemorySink
from learners.action_space import Discrete
from learners.experience import Chunk
from learners.iris.iris import Iris
from learners.weights import flat_weights
from tests.actors.fakes import Countdown
from tests.learners.fakes import TINY_AGENT

COLUMNS = ("frames", "actions", "rewards", "terminated", "truncated", "episodes", "episode_steps")


def weights(seed: int = 0) -> np.ndarray:
    torch.manual_seed(seed)
    return flat_weights(TINY_AGENT.build().acting_modules())


def catch_collector(num_envs: int = 1, index: int = 0, seed: int = 0, **settings: float) -> Collector:
    collection = CollectionConfig(envs_per_collector=num_envs, **settings)  # type: ignore[arg-type]
    return Collector(CatchConfig(), collection, TINY_AGENT, MemorySink(), seed=seed, index=index)


def countdown_collector(*lengths: tuple[int, ...]) -> Collector:
    collector = catch_collector(len(lengths))
    environments = InThisProcess(Countdown(index, each) for index, each in enumerate(lengths))
    collector._lockstep = Lockstep(environments, Discrete(3), 2)
    return collector


def collect(collector: Collector, *arguments: Any) -> tuple[list[Chunk], CollectionReport, bytes]:
    """What is written, in logical order, in place of its receipts."""
    receipts, report, state = collector.collect(*arguments)
    assert isinstance(collector._sink, MemorySink)
    chunks = collector._sink.take()
    assert sum(receipt.steps for receipt in receipts) == sum(map(len, chunks))
    return chunks, report, state


def equal(first: list[Chunk], second: list[Chunk]) -> bool:
    same_columns = all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(first, second, strict=True)
        for name in COLUMNS
    )
    return same_columns and [(c.iteration, c.environment, c.start) for c in first] == [
        (c.iteration, c.environment, c.start) for c in second
    ]


@pytest.mark.parametrize("num_steps", [1, 7, 20])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_exactly_the_steps_asked_for_are_taken(num_steps: int, num_envs: int):
    collector = catch_collector(num_envs)
    for iteration in (1, 2, 3):
        chunks, _, _ = collect(collector, iteration, num_steps, weights(), 0)
        assert sum(len(chunk) for chunk in chunks) == num_steps


def test_a_frame_is_stored_with_the_action_taken_there_and_what_it_brought():
    chunks, report, _ = collect(countdown_collector((3, 2, 9)), 1, 7, weights(), 0)
    (chunk,) = chunks
    assert chunk.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 20, 21]
    assert chunk.rewards.tolist() == [1, 2, 3, 1, 2, 1, 2]
    assert chunk.terminated.tolist() == [False, False, True, False, True, False, False]
    assert chunk.episodes.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert chunk.episode_steps.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert report.episode_returns == (6.0, 3.0)
    assert report.episode_lengths == (3, 2)
    assert report.episode_achievements == ({"steps": 3}, {"steps": 2})


def test_a_return_counts_the_steps_of_earlier_iterations():
    collector = countdown_collector((3, 9))
    collect(collector, 1, 2, weights(), 0)
    _, report, _ = collect(collector, 2, 2, weights(), 0)
    assert report.episode_returns == (6.0,)
    assert report.episode_lengths == (3,)
    assert report.episode_achievements == ({"steps": 3},)


def test_environments_that_wait_take_no_steps_and_the_first_ones_take_the_last():
    chunks, _, _ = collect(countdown_collector((1, 9), (3, 9)), 1, 5, weights(), 0)
    first, second = chunks
    assert first.frames[:, 0, 0, 0].tolist() == [0, 10]
    assert second.frames[:, 0, 0, 0].tolist() == [50, 51, 52]
    assert second.episodes.tolist() == [1 << 32] * 3


def test_an_iteration_is_written_in_pieces_of_so_many_steps_that_follow_each_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actors.collector.PIECE_STEPS", 200)
    collector = catch_collector(3)
    sink = collector._sink
    assert isinstance(sink, MemorySink)
    receipts, _, _ = collector.collect(1, 450, weights(), 0)
    assert [(each.collector, each.piece, each.steps) for each in receipts] == [(0, 0, 200), (0, 1, 200), (0, 2, 50)]
    chunks = sink.take()
    for environment in range(3):
        its = [chunk for chunk in chunks if chunk.environment == environment]
        for before, after in pairwise(its):
            assert after.start == before.start + len(before)
            same_episode = before.episodes[-1] == after.episodes[0]
            assert after.episode_steps[0] == (before.episode_steps[-1] + 1 if same_episode else 0)
    whole = catch_collector(3)
    monkeypatch.setattr("actors.collector.PIECE_STEPS", 10_000)
    expected, _, _ = collect(whole, 1, 450, weights(), 0)
    for environment, chunk in enumerate(expected):
        found = [each.frames for each in chunks if each.environment == environment]
        assert np.array_equal(np.concatenate(found), chunk.frames)


def test_a_restored_collector_plays_the_iteration_again_exactly():
    first, replacement = catch_collector(2), catch_collector(2)
    _, _, state = collect(first, 1, 25, weights(), 0)
    replacement.set_state(state)
    expected = collect(first, 2, 25, weights(1), 1)
    found = collect(replacement, 2, 25, weights(1), 1)
    assert equal(found[0], expected[0])
    assert found[1:] == expected[1:]


def test_seed_index_and_weights_each_change_what_is_collected():
    base = collect(catch_collector(), 1, 40, weights(), 0)[0]
    assert equal(base, collect(catch_collector(), 1, 40, weights(), 0)[0])
    assert not equal(base, collect(catch_collector(seed=1), 1, 40, weights(), 0)[0])
    assert not np.array_equal(base[0].actions, collect(catch_collector(index=1), 1, 40, weights(), 0)[0][0].actions)
    larger = (np.float32(20.0) * weights(3).view(np.float32)).view(np.uint8)
    assert not equal(base, collect(catch_collector(), 1, 40, larger, 0)[0])


def always(action: int) -> np.ndarray:
    """Weights of a policy that (all but) always takes one action."""
    torch.manual_seed(0)
    iris = TINY_AGENT.build()
    assert isinstance(iris, Iris)
    iris.actor_critic.policy.bias.data = 50.0 * torch.eye(3)[action]
    return flat_weights(iris.acting_modules())


def test_without_exploration_actions_are_the_policys():
    chunks, _, _ = collect(catch_collector(epsilon=0.0), 1, 50, always(2), 0)
    assert set(chunks[0].actions.tolist()) == {2}


def test_epsilon_one_is_uniform_and_the_policy_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    collector = catch_collector(5, epsilon=1.0)
    monkeypatch.setattr(collector._agent.actor, "act", lambda *arguments, **settings: pytest.fail("it was asked"))
    chunks, _, _ = collect(collector, 1, 900, always(2), 0)
    counts = np.bincount(np.concatenate([chunk.actions for chunk in chunks]), minlength=3)
    assert np.abs(counts - 300).max() < 4 * np.sqrt(900 * 2 / 9)


def test_a_first_iteration_of_its_own_length_is_uniform_whatever_the_policy():
    settings = {"first_steps": 60, "epsilon": 0.0}
    first, other = (collect(catch_collector(**settings), 1, 60, weights(seed), 0)[0] for seed in (0, 5))
    assert equal(first, other)
    first, other = (collect(catch_collector(**settings), 2, 60, weights(seed), 0)[0] for seed in (0, 5))
    assert not equal(first, other)


def test_a_phase_that_starts_between_episodes_starts_with_a_burn_in_on_nothing(monkeypatch: pytest.MonkeyPatch):
    """An actor may make another state of padding than it has before an episode that starts within a phase."""
    states: list[object] = []
    collector = countdown_collector((3, 2, 9))
    actor = collector._agent.actor
    monkeypatch.setattr(actor, "burn_in", lambda frames, actions, mask: ("burnt in", bool(mask.any())))
    monkeypatch.setattr(actor, "initial_state", lambda size: "initial")

    def act(frames: np.ndarray, state: object, *arguments: object, **settings: float) -> tuple[np.ndarray, object]:
        states.append(state)
        return np.zeros(len(frames), dtype=np.int64), "later"

    monkeypatch.setattr(actor, "act", act)
    collect(collector, 1, 3, weights(), 0)
    collect(collector, 2, 3, weights(), 0)
    collect(collector, 3, 1, weights(), 0)
    nothing = ("burnt in", False)
    assert states == [nothing, "later", "later", nothing, "later", "initial", ("burnt in", True)]


def test_one_coin_is_tossed_for_all_environments():
    """An action other than 2 betrays exploration: then the other environment explores too, and takes another than 2 in
    two cases out of three; with a coin each it would be one in three."""
    first, second = collect(catch_collector(2, epsilon=0.5), 1, 400, always(2), 0)[0]
    exploring = first.actions != 2
    assert exploring.sum() > 40
    assert (second.actions[exploring] != 2).mean() > 0.5


def test_each_phase_burns_in_the_last_steps_of_the_running_episode(monkeypatch: pytest.MonkeyPatch):
    collector = countdown_collector((9,))
    seen = []
    actor = collector._agent.actor
    burn_in = actor.burn_in
    monkeypatch.setattr(actor, "burn_in", lambda *steps: seen.append(steps) or burn_in(*steps))
    (chunk,), _, _ = collect(collector, 1, 3, weights(), 0)
    collect(collector, 2, 1, weights(), 0)
    assert not seen[0][2].any()
    assert seen[1][0][0, :, 0, 0, 0].tolist() == [1, 2]  # the current frame is 3
    assert seen[1][1][0].tolist() == chunk.actions[1:].tolist()
    assert seen[1][2].all()
