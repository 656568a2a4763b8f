"""Rates of an agent's achievements beside those of random play."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actors.config import CrafterConfig
from benchmarks.achievements import EPISODES, compare, counted, main, played_at_random
from learners.algorithm import Agent
from pipeline.metrics import ACHIEVED
from pipeline.presets import preset


def test_iterations_add_up():
    records = [{EPISODES: 3, ACHIEVED + "eat_cow": 1, "steps": 9}, {EPISODES: 2, ACHIEVED + "eat_cow": 2}]
    assert counted(records) == {EPISODES: 5, ACHIEVED + "eat_cow": 3}


def test_above_is_by_more_than_two_standard_errors():
    agent = Counter({EPISODES: 100, ACHIEVED + "a": 50, ACHIEVED + "b": 25, ACHIEVED + "c": 100})
    random = Counter({EPISODES: 100, ACHIEVED + "a": 20, ACHIEVED + "b": 20, ACHIEVED + "c": 100})
    found = compare(agent, random)
    assert found["above"] == ["a"]
    assert found["rates"]["a"]["standard_errors_above"] == pytest.approx(0.3 / (0.0025 + 0.0016) ** 0.5)
    assert found["rates"]["b"] == {
        "agent": 0.25,
        "random": 0.2,
        "standard_errors_above": pytest.approx(0.05 / (0.001875 + 0.0016) ** 0.5),
    }
    assert found["rates"]["c"]["standard_errors_above"] is None  # no episode differs


def test_random_play_is_counted_as_training_episodes_are(monkeypatch: pytest.MonkeyPatch):
    act, seen = Agent.act, set()

    def watched(self: Agent, *args: Any, epsilon: float, **kwargs: Any) -> Any:
        seen.add(epsilon)
        return act(self, *args, epsilon=epsilon, **kwargs)

    monkeypatch.setattr(Agent, "act", watched)
    config = preset("debug").model_copy(update={"env": CrafterConfig(max_steps=9)})
    found = played_at_random(config, num_steps=30)
    assert found[EPISODES] == 3
    assert len(found) == 1 + 22
    assert seen == {1.0}


@pytest.mark.parametrize("arguments", [["--last", "0"], []])
def test_a_mistake_is_one_line(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path / "none"), *arguments])
    assert left.value.code == 2
    assert ("--last: found 0" if arguments else str(tmp_path / "none")) in capsys.readouterr().err.splitlines()[-1]
