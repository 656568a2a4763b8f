"""Who dies while it starts is replaced like anybody else, or the run says in one line where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.errors import LostError
from cluster.ray_processes import RayProcess, RayProcesses
from pipeline.errors import RunFailedError
from pipeline.workers import Workers
from tests.faults.local import local_config, play_locally
from tests.faults.scene import play
from tests.faults.stand_ins import config_of


def losing(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The first learner is lost so often while it starts."""
    starts, counts = iter(range(times)), Workers.parameter_counts

    async def lost_at_first(self: Workers) -> dict[str, int]:
        for _ in starts:
            raise LostError("the process died that was to do: the learner to start")
        return await counts(self)

    monkeypatch.setattr(Workers, "parameter_counts", lost_at_first)


def test_a_learner_that_is_lost_while_it_starts_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = local_config(3)
    undisturbed = play_locally(tmp_path / "undisturbed", config)
    losing(monkeypatch, config.cluster.max_losses)
    assert play_locally(tmp_path / "disturbed", config) == undisturbed


def test_one_that_is_lost_too_often_ends_the_run_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = local_config(3)
    losing(monkeypatch, config.cluster.max_losses + 1)
    with pytest.raises(RunFailedError, match=r"^the process died .*: giving up; iteration 0 is the last commit; .*$"):
        play_locally(tmp_path / "run", config)


@pytest.mark.ray
@pytest.mark.slow
def test_any_actor_may_die_while_it_starts(tmp_path: Path, processes: RayProcesses, monkeypatch: pytest.MonkeyPatch):
    config = config_of(iterations=2)
    undisturbed = play(tmp_path / "undisturbed", config, processes)
    start, doomed = RayProcess.__init__, {"learner", "collector 0", "evaluator 0"}

    def dying(self: RayProcess, name: str, *arguments: Any) -> None:
        start(self, name, *arguments)
        if name in doomed:
            ray.kill(self.actor)

    monkeypatch.setattr(RayProcess, "__init__", dying)
    assert play(tmp_path / "disturbed", config, processes) == undisturbed
