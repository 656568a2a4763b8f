"""The disk fails, fills up, or changes what was written, under a whole run: nothing is lost in silence."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

from actors.damage import Damage, DamagedExperienceError
from pipeline.errors import RunFailedError, UsageError
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
        assert play_locally(path, local_config(ITERATIONS)) == undisturbed, calls[-1]
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
