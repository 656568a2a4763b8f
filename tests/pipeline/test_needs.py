"""What a run will take is said and refused before it starts."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from learners import machine
from learners.action_space import Box, Discrete
from learners.algorithm import AgentConfig
from learners.memory import ExperienceTooLargeError
from pipeline.cli import command
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.needs import PIECE_BYTES, STORED_BYTES, Needs, needs_of, planned_needs
from pipeline.presets import PRESETS, preset
from pipeline.train import main
from tests.faults.fakes import FakeLearner
from tests.faults.local import local_config, play_locally

DEBUG = preset("debug")  # 3 iterations of 20 steps, 3 kept commits
FRAMES = {"frames": 12_288, "actions": 8, "rewards": 4, "ends": 1}
STORED = STORED_BYTES + 8
DEBUG_MEMORY = 1024 * 12_301 + 512 * 12_288
WITHOUT = 1024 * 13 + 512 * 8


def with_cluster(**changes: object) -> RunConfig:
    return DEBUG.model_copy(update={"cluster": DEBUG.cluster.model_copy(update=changes)})


def test_a_run_needs_room_for_its_steps_uncompressed_and_one_commit_more_than_are_kept():
    found = planned_needs(DEBUG, [FRAMES], weights=4000, num_parameters=1000, committed=[])
    assert found == Needs([DEBUG_MEMORY], [WITHOUT], 60 * STORED + 3 * PIECE_BYTES + 4 * 12_000)
    assert (STORED, PIECE_BYTES) == (12_388, 8192)


def test_a_resumed_run_needs_the_disk_for_what_is_still_to_come_and_the_memory_for_all():
    found = planned_needs(DEBUG, [FRAMES], weights=4000, num_parameters=1000, committed=[1, 2])
    assert found == Needs([DEBUG_MEMORY], [WITHOUT], 20 * STORED + PIECE_BYTES + 2 * 12_000)
    finished = planned_needs(DEBUG, [FRAMES], weights=4000, num_parameters=1000, committed=[1, 2, 3])
    assert finished.disk == 12_000


def test_a_commit_of_an_overlapped_schedule_holds_earlier_weights_too():
    overlapped = DEBUG.model_copy(update={"schedule": "overlapped"})
    assert planned_needs(overlapped, [FRAMES], weights=4000, num_parameters=1000, committed=[1, 2, 3]).disk == 16_000


def test_weights_that_are_not_trained_are_committed_without_averages():
    """Those of a target network and of a codebook."""
    config = preset("delta-iris-debug")
    algorithm = AgentConfig(config.algorithm, Discrete(3)).build()
    trained = sum(
        4 * each.numel() for part in algorithm.parts for each in part.module.parameters() if each.requires_grad
    )
    weights = sum(each.nbytes for part in algorithm.parts for each in part.module.state_dict().values())
    assert weights > trained
    disk = needs_of(config, AgentConfig(config.algorithm, Discrete(3)), committed=[1, 2, 3]).disk
    assert disk == weights + 2 * trained


def test_every_learner_mirrors_what_its_parts_read():
    agent = AgentConfig(DEBUG.algorithm, Discrete(3))
    together, split = (needs_of(with_cluster(learners=each), agent, []) for each in ("colocated", "split"))
    last = 1024 * (12_301 + 136 + 49_160) + 512 * 49_160
    assert (together.memory, split.memory) == ([last], [DEBUG_MEMORY, DEBUG_MEMORY + 1024 * 136, last])
    ranks = needs_of(with_cluster(learners="split", data_parallel=2), agent, [])
    assert ranks.memory == [each for each in split.memory for _ in range(2)]
    words = "0.3 GB of memory for experience in 6 learners (0.2 GB if frames are read) and at most 0.1 GB of disk"
    assert str(ranks) == words


def test_the_last_learner_inspects_all_parts_and_so_mirrors_what_they_read():
    algorithm = AgentConfig(DEBUG.algorithm, Discrete(3)).build()
    *others, last = algorithm.parts
    parts = [*others, replace(last, columns=("frames",))]
    changed = SimpleNamespace(parts=parts, derived=algorithm.derived)
    agent: Any = SimpleNamespace(build=lambda: changed, action_space=Discrete(3))
    alone, *_, inspects = needs_of(with_cluster(learners="split"), agent, []).memory
    assert (alone, inspects) == (DEBUG_MEMORY, 1024 * (12_301 + 136 + 49_160) + 512 * 49_160)


def test_memory_must_do_for_the_largest_learner_on_one_machine_and_for_all_on_all():
    needs = Needs([30 * 10**9, 30 * 10**9], [10**9, 10**9], disk=0)
    assert needs.place_frames("auto", [{"memory": 30e9}, {"memory": 30e9}]) == "resident"
    assert needs.place_frames("auto", [{"CPU": 1.0}]) == "resident"  # whoever does not tell is believed
    assert needs.place_frames("read", [{"memory": 60e9}] * 2) == "read"
    assert needs.place_frames("auto", [{"memory": 29e9}] * 9) == "read"
    assert needs.place_frames("auto", [{"memory": 59e9}]) == "read"
    words = r"^memory: found 29\.9 GB on the largest machine, expected 30\.0 GB for exper.*; .*--dataset.frames read"
    with pytest.raises(UsageError, match=words):
        needs.place_frames("resident", [{"memory": 29.99e9}] * 9)
    with pytest.raises(UsageError, match=r"^memory: found 59\.0 GB on all machines, expected 60\.0 GB for experience;"):
        needs.place_frames("resident", [{"memory": 59e9}])
    for asked in ("auto", "read"):
        with pytest.raises(UsageError, match=r"^memory: found 0\.9 GB on the largest machine, .*, frames left out; "):
            needs.place_frames(asked, [{"memory": 0.99e9}] * 9)


def test_ten_million_steps_fit_on_a_laptop_that_reads_their_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = preset("iris-crafter")
    collection = config.collection.model_copy(update={"steps_per_iteration": 20_000})
    config = config.model_copy(update={"collection": collection})
    columns = FRAMES | {"tokens": 136, "reconstructions": 49_160}
    needs = planned_needs(config, [columns], weights=4 * 10**7, num_parameters=10**7, committed=[])
    assert min(*needs.memory, needs.disk) > 123 * 10**9
    assert max(needs.memory_without_frames) < 5 * 10**9
    assert needs.place_frames("auto", [{"memory": 8e9}]) == "read"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * 10**9))
    with pytest.raises(
        UsageError, match=r": found 100.0 GB of free disk, expected 124.5 GB for what is still to come; "
    ):
        needs.check_disk(tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_that_need_no_gpu_fit_into_eight_gigabytes(name: str):
    config = PRESETS[name][1]
    space = Box((-4.0, -4.0), (4.0, 4.0)) if config.env.kind == "rooms" else Discrete(18)
    needs = needs_of(config, AgentConfig(config.algorithm, space), [])
    large = name in ("iris-atari100k", "iris-crafter", "delta-iris-crafter", "jepa-crafter")
    assert needs.place_frames("auto", [{"memory": 8e9}]) == ("read" if large else "resident")


@pytest.mark.parametrize(
    ("flags", "limit", "says"),
    [
        (
            ["--collection.steps-per-iteration", "1000000000"],
            "max",
            "{run}: found {} of free disk, expected 37",
        ),
        (
            ["--in-process", "--dataset.frames", "resident"],
            "80000000",
            "memory: found 0.0 GB on the largest machine, expected 0.1 GB for experience;",
        ),
        (
            ["--in-process"],
            "1000000",
            "memory: found 0.0 GB on the largest machine, expected 0.1 GB for experience, fr",
        ),
    ],
)
def test_a_run_that_does_not_fit_is_refused_in_one_line_and_leaves_nothing(
    flags: list[str],
    limit: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path)
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as left:
        command(lambda: main(["debug", "--run-dir", str(run), *flags]))
    said = capsys.readouterr()
    assert (left.value.code, said.err.count("\n")) == (2, 1)
    for words in says.format(" {} ", run=run).split(" {} "):
        assert words in said.err
    assert "needs " in said.out
    assert os.listdir(tmp_path) == ["memory.max"]


def test_experience_that_outgrows_a_device_ends_a_run_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def mirror(self: FakeLearner, iterations: object, *, gaps: bool) -> int:
        raise ExperienceTooLargeError("experience of 18 steps does not fit")

    monkeypatch.setattr(FakeLearner, "mirror", mirror)
    words = r"^--collection.steps-per-iteration, --iterations or --dataset.frames: experience of 18 steps does not fit$"
    with pytest.raises(UsageError, match=words):
        play_locally(tmp_path / "run", local_config(2))
