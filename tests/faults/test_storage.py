"""The disk fails, fills up, or changes what was written, under a whole run: nothing is lost in silence."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from actors.damage import Damage, DamagedExperienceError
from learners import durable
from pipeline.checkpoint import Checkpoints, load
from pipeline.config import CheckpointConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.run_dir import RunDirectory
from tests.faults import fakes
from tests.faults.local import (
    Crash,
    failing_disk,
    finds_or_repairs,
    local_config,
    mutate,
    no_space,
    one_line,
    play_locally,
    read_only,
)
from tests.faults.stand_ins import Outcome

ITERATIONS = 4
MUTATIONS = 100


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return play_locally(tmp_path_factory.mktemp("undisturbed") / "run", local_config(ITERATIONS))


def resumed_at(lines: list[str]) -> int:
    """The iteration after which a run went on; 0 if it started afresh."""
    return max((int(line.split()[3]) for line in lines if line.startswith("resuming after")), default=0)


def test_a_crash_at_any_call_of_the_disk_loses_nothing(undisturbed: Outcome, tmp_path: Path):
    names: Counter[str] = Counter()
    calls: list[str] = []
    for call in range(10**6):
        path = tmp_path / str(call)
        try:
            with failing_disk(call) as calls:
                play_locally(path, local_config(ITERATIONS))
            break  # the run makes no more calls than that
        except Crash:
            names[calls[-1].split()[0]] += 1
        found = play_locally(path, local_config(ITERATIONS))
        assert found == undisturbed, calls[-1]
        assert found.leftovers == 0, calls[-1]
        shutil.rmtree(path)
    assert sum(names.values()) >= 200, names
    assert names.keys() >= {"write", "fsync", "rename"}


@pytest.mark.parametrize("error", [no_space, read_only])
def test_a_disk_that_is_full_or_read_only_stops_the_run_in_one_line_and_loses_nothing(
    undisturbed: Outcome, tmp_path: Path, error: Callable[[str], OSError]
):
    struck = 0
    for call in range(0, 10**6, 7):
        path = tmp_path / str(call)
        try:
            with failing_disk(call, error):
                play_locally(path, local_config(ITERATIONS))
            break
        except RunFailedError as failure:
            message = one_line(failure)
            assert message.endswith("is the last commit; the same command resumes there"), message
        except OSError as failure:  # before the first iteration
            message = one_line(failure)
        struck += 1
        assert str(error("").strerror) in message
        assert play_locally(path, local_config(ITERATIONS)) == undisturbed
        shutil.rmtree(path)
    assert struck >= 30


def test_damage_is_found_and_survived_or_stops_the_run_in_one_line(tmp_path: Path):
    whole = tmp_path / "whole"
    before = play_locally(whole, local_config(ITERATIONS))
    longer = local_config(ITERATIONS + 3)  # by then every checkpoint that may be damaged has made room for a newer one
    expected = play_locally(Path(shutil.copytree(whole, tmp_path / "longer")), longer)
    assert resumed_at(expected.lines) == ITERATIONS
    rng = np.random.default_rng(0)
    refusals: list[str] = []
    for number in range(MUTATIONS):
        path = Path(shutil.copytree(whole, tmp_path / str(number)))
        what = mutate(path, rng)
        with suppress(UsageError):
            assert finds_or_repairs(path, before.digest), what
        try:
            found = play_locally(path, longer)
        except (UsageError, RunFailedError) as refusal:
            refusals.append(one_line(refusal))
        else:
            assert found == expected, what
            assert resumed_at(found.lines) >= ITERATIONS - 3, what
        shutil.rmtree(path)
    assert 0 < len(refusals) < MUTATIONS / 2, refusals


@pytest.mark.parametrize(
    ("name", "resumes_at", "words"),
    [
        ("checkpoints/000004/world_model.safetensors", 3, "passed over: checkpoint 000004: world_model.safetensors is"),
        ("replay/000004/0001-0000-*", 3, "passed over: checkpoint 000004: "),
        ("replay/000003/0000-0000-*", 2, "put into quarantine: 000003/0000-0000-"),
        ("replay/000002/index-*", 4, "put into quarantine, and made anew: 000002/index-"),
        ("metrics.jsonl", 4, "resuming after iteration 4"),
    ],
)
def test_a_run_goes_back_no_further_than_damage_makes_it(tmp_path: Path, name: str, resumes_at: int, words: str):
    whole, longer = tmp_path / "whole", local_config(ITERATIONS + 3)
    play_locally(whole, local_config(ITERATIONS))
    expected = play_locally(Path(shutil.copytree(whole, tmp_path / "longer")), longer)
    (file,) = whole.glob(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found = play_locally(whole, longer)
    assert found == expected
    assert resumed_at(found.lines) == resumes_at
    assert any(line.startswith(words) for line in found.lines), found.lines
    quarantined = sorted(path.name for path in whole.glob("replay/quarantine/*"))
    shelter = f"{file.parent.name}-{file.name}"
    assert quarantined == ([shelter, f"{shelter}.txt"] if name.startswith("replay") else [])


def test_damage_that_every_checkpoint_counts_on_stops_the_run_unless_the_loss_is_accepted(tmp_path: Path):
    play_locally(tmp_path, local_config(ITERATIONS))
    (file,) = tmp_path.glob("replay/000002/0000-0000-*")
    file.unlink()
    longer = local_config(ITERATIONS + 1)
    with pytest.raises(UsageError) as refused:
        play_locally(tmp_path, longer)
    message = one_line(refused.value)
    assert message.startswith("no intact checkpoint among 3: checkpoint 000004: ")
    words = "No such file or directory; missing: 10 steps of iteration 2, collector 0"
    assert message.endswith(f"{words}; --accept-loss goes on without those steps and records it")

    accepted = play_locally(tmp_path, longer, accept_loss=True)  # which verifies
    assert resumed_at(accepted.lines) == ITERATIONS
    assert "accepted that steps are lost: 10 of iteration 2" in accepted.lines
    assert json.loads((tmp_path / "scores.json").read_text())["lost_steps"] == 10
    later = play_locally(tmp_path, local_config(ITERATIONS + 2))  # it is recorded, and need not be said again
    assert resumed_at(later.lines) == ITERATIONS + 1
    assert not any(line.startswith("accepted") for line in later.lines)


def test_a_loss_accepted_in_the_middle_of_a_run_leaves_what_a_resume_would(tmp_path: Path):
    """The learner still remembers what the disk has lost: it may not go on with that."""
    resumed, lived = tmp_path / "resumed", tmp_path / "lived"
    play_locally(resumed, local_config(ITERATIONS))
    shutil.copytree(resumed, lived)
    longer = local_config(ITERATIONS + 2)

    def lose(path: Path) -> None:
        (file,) = path.glob("replay/000001/0000-0000-*")
        file.write_bytes(b"")

    lose(resumed)
    expected = play_locally(resumed, longer, accept_loss=True)

    inspect = fakes.FakeLearner.inspect

    def lose_first(learner: fakes.FakeLearner, iteration: int) -> SimpleNamespace:
        patched.stop()
        lose(lived)
        raise DamagedExperienceError(Damage(None, "as a read would find"))

    patched = patch.object(fakes.FakeLearner, "inspect", lose_first)
    patched.start()
    found = play_locally(lived, longer, accept_loss=True)
    assert fakes.FakeLearner.inspect is inspect
    assert found == expected
    assert "accepted that steps are lost: 10 of iteration 1" in found.lines


def test_a_replay_that_comes_to_other_steps_counts_them_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On another machine, say: what the first attempt wrote of an iteration is neither read nor kept."""
    train = fakes.FakeLearner.train

    def crash(learner: fakes.FakeLearner, part: str, iteration: int, steps: range) -> dict[str, float]:
        if iteration == 3:
            raise Crash
        return train(learner, part, iteration, steps)

    with patch.object(fakes.FakeLearner, "train", crash), pytest.raises(Crash):
        play_locally(tmp_path, local_config(ITERATIONS))
    before = {path.name for path in tmp_path.glob("replay/000003/*")}
    collect = fakes.FakeCollector.collect

    def collects_otherwise(
        self: fakes.FakeCollector, iteration: int, num_steps: int, weights: Any, version: int
    ) -> object:
        return collect(self, iteration, num_steps, weights[::-1], version)

    monkeypatch.setattr(fakes.FakeCollector, "collect", collects_otherwise)
    found = play_locally(tmp_path, local_config(ITERATIONS))  # which verifies and counts
    after = {path.name for path in tmp_path.glob("replay/000003/0*")}
    assert (len(before), len(after), found.leftovers) == (2, 2, 0)
    assert not before & after


def test_a_process_that_outlives_its_run_changes_nothing_that_a_commit_names(
    undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stopped in the middle of a piece, it goes on when the replay has committed; and then writes other steps."""
    rename, stopped = durable.rename, []

    def stops(source: Path, target: Path) -> None:
        if target.match("replay/000003/0001-*"):
            stopped.append((source, target, source.read_bytes()))
            raise Crash
        rename(source, target)

    with patch.object(durable, "rename", stops), pytest.raises(Crash):
        play_locally(tmp_path, local_config(ITERATIONS))
    (source, target, data), train = stopped[0], fakes.FakeLearner.train

    def goes_on(learner: fakes.FakeLearner, part: str, iteration: int, steps: range) -> dict[str, float]:
        if iteration == 4 and not list(target.parent.glob(f"*{'f' * 16}*")):
            assert not source.exists()  # cleared away before the replay
            assert target.exists()  # written by the replay
            source.write_bytes(data)
            rename(source, target)
            target.with_name(f"0001-0000-{'f' * 16}.safetensors").write_bytes(data[:-1])
        return train(learner, part, iteration, steps)

    monkeypatch.setattr(fakes.FakeLearner, "train", goes_on)
    found = play_locally(tmp_path, local_config(ITERATIONS))
    assert (found, found.leftovers) == (undisturbed, 1)
    assert play_locally(tmp_path, local_config(ITERATIONS + 1)).leftovers == 0


@pytest.mark.parametrize(("schedule", "every"), [("synchronous", 1), ("synchronous", 3), ("overlapped", 1)])
def test_a_commit_leads_to_all_iterations_up_to_it_and_to_none_after(tmp_path: Path, schedule: str, every: int):
    config = local_config(7, schedule).model_copy(update={"checkpoint": CheckpointConfig(every=every)})
    play_locally(tmp_path, config)
    run = RunDirectory(tmp_path)
    for path in Checkpoints(run.checkpoints, 3).paths():
        state = load(path).state
        history = run.store(config).history(state.experience)
        assert [index.iteration for index in history] == list(range(1, state.iteration + 1))
        assert sum(index.steps for index in history) == state.steps
        assert "replay" not in str(load(path).files)
        assert (path / "state.json").stat().st_size < 4096


def test_a_read_that_fails_where_the_file_is_whole_puts_nothing_aside(
    undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every commit counts on that file: without it the run could not go on."""
    inspect, struck = fakes.FakeLearner.inspect, []

    def fails_once(learner: fakes.FakeLearner, iteration: int) -> SimpleNamespace:
        if iteration == 4 and not struck:
            struck.extend(tmp_path.glob("replay/000001/0000-0000-*"))
            raise DamagedExperienceError(Damage(f"000001/{struck[0].name}", "Input/output error"))
        return inspect(learner, iteration)

    monkeypatch.setattr(fakes.FakeLearner, "inspect", fails_once)
    assert play_locally(tmp_path, local_config(ITERATIONS)) == undisturbed
    assert len(struck) == 1
    assert not list(tmp_path.glob("replay/quarantine/*"))


def test_damage_before_any_commit_starts_everything_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who has learnt from what is damaged cannot go on with that."""
    config = local_config(3).model_copy(update={"checkpoint": CheckpointConfig(every=3)})
    expected = play_locally(tmp_path / "undisturbed", config)
    inspect, struck = fakes.FakeLearner.inspect, []

    def damages_once(learner: fakes.FakeLearner, iteration: int) -> SimpleNamespace:
        if iteration == 2 and not struck:
            struck.append(iteration)
            raise DamagedExperienceError(Damage("000001/0000-0000-0.safetensors", "as a read would find"))
        return inspect(learner, iteration)

    monkeypatch.setattr(fakes.FakeLearner, "inspect", damages_once)
    assert play_locally(tmp_path / "run", config) == expected
    assert struck


def test_a_commit_that_counts_other_steps_than_its_indices_is_passed_over(tmp_path: Path):
    play_locally(tmp_path, local_config(ITERATIONS))
    run = RunDirectory(tmp_path)
    for iteration in (3, 4):
        newest = load(tmp_path / "checkpoints" / f"{iteration:06d}")
        forged = newest.state.model_copy(update={"steps": newest.state.steps + 1})
        shutil.copytree(newest.path, tmp_path / "forged")
        shutil.rmtree(newest.path)
        Checkpoints(run.checkpoints, 9).commit(tmp_path / "forged", forged, newest.files)
    found = play_locally(tmp_path, local_config(ITERATIONS + 1))
    assert resumed_at(found.lines) == 2
    assert any(f"found {20 * 4} steps, expected {20 * 4 + 1}" in line for line in found.lines), found.lines


def test_no_loss_is_accepted_where_nothing_is_missing(tmp_path: Path):
    play_locally(tmp_path, local_config(ITERATIONS))
    run = RunDirectory(tmp_path)
    for path in Checkpoints(run.checkpoints, 9).paths():
        whole = load(path)
        forged = whole.state.model_copy(update={"steps": whole.state.steps - 1})
        path.rename(tmp_path / "forged")
        Checkpoints(run.checkpoints, 9).commit(tmp_path / "forged", forged, whole.files)
    with pytest.raises(UsageError) as refused:
        play_locally(tmp_path, local_config(ITERATIONS + 1), accept_loss=True)
    assert "no intact checkpoint among 3: " in one_line(refused.value)
    assert one_line(refused.value).endswith("found 80 steps, expected 79")
