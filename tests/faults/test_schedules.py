"""Which processes learn, and what is done at the same time: neither loses a step, and each run is what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.ray_processes import RayProcesses
from tests.faults import fakes
from tests.faults.local import Crash, failing_disk, local_config, play_locally
from tests.faults.scene import Fault, play
from tests.faults.stand_ins import config_of

ITERATIONS = 6


def test_a_learner_for_each_part_computes_what_one_for_all_does(tmp_path: Path):
    for schedule in ("synchronous", "overlapped"):
        runs = [
            play_locally(tmp_path / schedule / learners, local_config(ITERATIONS, schedule, learners))
            for learners in ("colocated", "split")
        ]
        assert runs[0] == runs[1]


@pytest.mark.parametrize("learners", ["colocated", "split"])
def test_an_overlapped_schedule_collects_the_next_iteration_before_this_one_has_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learners: str
):
    events: list[str] = []
    collect, train = fakes.FakeCollector.collect, fakes.FakeLearner.train

    def collects(self: fakes.FakeCollector, iteration: int, *arguments: object) -> object:
        events.append(f"collect {iteration}")
        return collect(self, iteration, *arguments)  # type: ignore[arg-type]

    def trains(self: fakes.FakeLearner, part: str, iteration: int, steps: range) -> object:
        events.append(f"{part} {iteration}")
        return train(self, part, iteration, steps)

    monkeypatch.setattr(fakes.FakeCollector, "collect", collects)
    monkeypatch.setattr(fakes.FakeLearner, "train", trains)
    play_locally(tmp_path / "run", local_config(ITERATIONS, "overlapped", learners))

    def last(event: str) -> int:
        return len(events) - 1 - events[::-1].index(event)

    for iteration in range(1, ITERATIONS):
        begun = events.index(f"collect {iteration + 1}")
        assert begun < last(f"actor_critic {iteration}")
        assert iteration == 1 or begun > last(f"actor_critic {iteration - 1}")
    both = any(events.index(f"tokenizer {i + 1}") < last(f"actor_critic {i}") for i in range(1, ITERATIONS))
    assert both == (learners == "split")


@pytest.mark.parametrize("learners", ["colocated", "split"])
def test_a_crash_in_an_overlapped_schedule_loses_nothing(tmp_path: Path, learners: str):
    config = local_config(ITERATIONS, "overlapped", learners)
    undisturbed = play_locally(tmp_path / "undisturbed", config)
    struck = 0
    for call in range(0, 10**6, 11):
        path = tmp_path / str(call)
        try:
            with failing_disk(call):
                play_locally(path, config)
            break
        except Crash:
            struck += 1
        assert play_locally(path, config) == undisturbed, call
        shutil.rmtree(path)
    assert struck >= 20


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_process_in_an_overlapped_schedule_loses_nothing(tmp_path: Path, processes: RayProcesses):
    faults = [
        Fault("learner", 2, "tokenizer"),
        Fault("collector", 4, "collect", delay_s=0.01),
        Fault("evaluator", 6, "world model"),
    ]
    config = config_of(8, "overlapped", "split")
    undisturbed = play(tmp_path / "undisturbed", config, processes)
    assert play(tmp_path / "disturbed", config, processes, faults) == undisturbed
    assert [str(fault) for fault in faults if fault.hit is None] == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_learner_that_loses_one_of_its_processes_goes_on_as_if_it_had_not(tmp_path: Path, processes: RayProcesses):
    """Real learners, which share every batch: the one that is left cannot go on alone, and does not have to."""
    config = config_of(4, data_parallel=2).model_copy(update={"inspect_every": 1})
    faults = [Fault("learner", 3, "world model")]  # rank 1
    undisturbed = play(tmp_path / "undisturbed", config, processes)
    assert play(tmp_path / "disturbed", config, processes, faults) == undisturbed
    assert [str(fault) for fault in faults if fault.hit is None] == []
