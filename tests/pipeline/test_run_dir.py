"""Whose directory a run's directory is: locked, of one configuration, untouched by what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.config import CatchConfig, GymConfig
from cluster.config import PROBE
from pipeline.config import CheckpointConfig, RunConfig
from pipeline.errors import UsageError
from pipeline.presets import preset
from pipeline.run_dir import PLANS, SURPRISE, RunDirectory, default_run_dir, run_name

DEBUG = preset("debug")

ROOT = Path(__file__).resolve().parents[2]
HOLD_THE_LOCK = """
import sys
from pathlib import Path
from pipeline.presets import preset
from pipeline.run_dir import RunDirectory

run = RunDirectory.claim(Path(sys.argv[1]), preset("debug"))
print("claimed", flush=True)
sys.stdin.read()
"""


@contextmanager
def claimed(path: Path, config: RunConfig = DEBUG) -> Iterator[RunDirectory]:
    run = RunDirectory.claim(path, config)
    try:
        yield run
    finally:
        run.close()


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The directory of a run that has started once."""
    path = tmp_path / "run"
    with claimed(path) as run:
        assert run.begin(DEBUG) == []
    return path


def refusal(path: Path, config: RunConfig = DEBUG) -> str:
    with pytest.raises(UsageError) as refused:
        RunDirectory.claim(path, config)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_second_claim_of_the_same_process_is_refused_until_the_first_is_closed(tmp_path: Path):
    path = tmp_path / "run"
    with claimed(path):
        assert refusal(path) == f"run directory {path} is in use by another process"
    with claimed(path):
        pass


def test_a_claim_of_another_process_is_refused_until_that_process_ends(tmp_path: Path):
    path = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "claimed\n"
        assert refusal(path) == f"run directory {path} is in use by another process"
    finally:
        holder.kill()  # not even a killed process leaves the lock behind
        holder.communicate(timeout=60)
    with claimed(path):
        pass


def test_a_run_that_is_open_cannot_be_claimed(begun: Path):
    run = RunDirectory.open(begun)
    assert refusal(begun).endswith("is in use by another process")
    run.close()


def test_a_reader_removes_nothing_whatever_happens_to_the_run(begun: Path, tmp_path: Path):
    run = RunDirectory.open(begun)
    for path in begun.iterdir():
        if path.name != ".lock":
            path.rename(tmp_path / path.name)
    run.close()
    assert [path.name for path in begun.iterdir()] == [".lock"]


def test_an_unbegun_claim_of_a_directory_that_was_there_leaves_it_as_it_was(begun: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (begun / ".lock").unlink()
    before = sorted(begun.iterdir())
    for path in (tmp_path / "mine", tmp_path / "link", begun):
        with claimed(path):
            pass
    assert list((tmp_path / "mine").iterdir()) == []
    assert sorted(begun.iterdir()) == before


def test_a_directory_that_vanishes_is_given_back_without_a_word(tmp_path: Path):
    run = RunDirectory.claim(tmp_path / "run", DEBUG)
    (tmp_path / "run").rename(tmp_path / "moved")
    run.close()
    with claimed(tmp_path / "moved"):
        pass


def test_what_is_in_the_way_of_a_directory_is_one_line(begun: Path):
    (begun / "checkpoints").rmdir()
    (begun / "checkpoints").touch()
    with claimed(begun) as run, pytest.raises(UsageError, match="checkpoints: found no directory, expected one"):
        run.begin(DEBUG)


@pytest.mark.parametrize("path", ["run", "made/too/run"])
def test_an_unbegun_claim_leaves_nothing_behind(tmp_path: Path, path: str):
    with claimed(tmp_path / path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_refused_claim_changes_nothing(begun: Path, tmp_path: Path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("do not touch")
    before = _content(tmp_path)
    refusal(foreign)
    refusal(begun, DEBUG.model_copy(update={"seed": 1}))
    assert _content(tmp_path) == before


def test_a_directory_whose_first_look_by_the_nodes_was_killed_may_be_claimed(tmp_path: Path):
    (tmp_path / f"{PROBE}driver-0123").write_text("")
    with claimed(tmp_path) as run:
        assert run.path == tmp_path


HALF_A_CONFIG = f"config.json.{'0' * 16}.tmp"


@pytest.mark.parametrize("content", ["", '{\n  "pre', '{\n  "preset": "debug",\n  "seed"'])
def test_a_directory_in_which_a_run_was_killed_as_it_began_may_be_claimed(tmp_path: Path, content: str):
    (tmp_path / HALF_A_CONFIG).write_text(content)
    (tmp_path / ".lock").touch()
    with claimed(tmp_path) as run:
        run.begin(DEBUG)
    assert not (tmp_path / HALF_A_CONFIG).exists()


@pytest.mark.parametrize("name", [".lock", "config.json.tmp", HALF_A_CONFIG, f"{PROBE}driver-0123"])
@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "file"])
def test_a_foreign_entry_is_foreign_whatever_its_name(tmp_path: Path, name: str, kind: str):
    victim, path = tmp_path / "victim", tmp_path / "run" / name
    victim.write_text("do not touch")
    path.parent.mkdir()
    make = {"link": path.symlink_to, "pipe": lambda _: os.mkfifo(path), "directory": lambda _: path.mkdir()}
    make.get(kind, lambda _: path.write_text("mine"))(victim)
    before = os.lstat(path)
    assert refusal(path.parent) == f"run directory {path.parent}: found {name!r} and no run, expected a run or nothing"
    assert (os.listdir(path.parent), os.lstat(path).st_ino) == ([name], before.st_ino)
    assert victim.read_text() == "do not touch"


def test_links_beside_the_files_of_a_run_are_not_followed(begun: Path, tmp_path: Path):
    (tmp_path / "victim").write_text("do not touch")
    for name in ("config.json.tmp", "scores.json.tmp", HALF_A_CONFIG, "README.txt"):
        (begun / name).unlink(missing_ok=True)
        (begun / name).symlink_to(tmp_path / "victim")
    with claimed(begun) as run:
        run.begin(DEBUG)
    assert (tmp_path / "victim").read_text() == "do not touch"


def test_a_run_whose_lock_file_was_deleted_is_still_in_use(tmp_path: Path):
    path = tmp_path / "run"
    with claimed(path) as run:
        run.begin(DEBUG)
        (path / ".lock").unlink()
        assert refusal(path) == f"run directory {path} is in use by another process"
        with pytest.raises(UsageError, match="is in use by another process"):
            RunDirectory.open(path)


def test_a_run_is_read_by_many_at_once_and_its_lock_file_is_not_made(begun: Path):
    (begun / ".lock").unlink()
    runs = [RunDirectory.open(begun), RunDirectory.open(begun)]
    assert not (begun / ".lock").exists()
    for run in runs:
        run.close()


def test_an_empty_directory_may_be_claimed(tmp_path: Path):
    path = tmp_path / "empty"
    path.mkdir()
    with claimed(path) as run:
        run.begin(DEBUG)
    assert run.config() == DEBUG


def test_a_directory_with_other_content_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    expected = f"run directory {tmp_path}: found 'thesis.tex' and no run, expected a run or nothing"
    assert refusal(tmp_path) == expected


def test_a_run_of_another_algorithm_is_refused_by_its_kind_alone(begun: Path):
    other = DEBUG.model_copy(update={"algorithm": preset("delta-iris-debug").algorithm})
    words = "algorithm.kind is 'iris' there, 'delta-iris' asked for; choose another --run-dir or the same settings"
    assert refusal(begun, other) == f"run directory {begun} is of another configuration: {words}"


def test_another_configuration_is_refused_with_the_difference(begun: Path):
    other = DEBUG.model_copy(
        update={"seed": 7, "env": CatchConfig(columns=9), "checkpoint": CheckpointConfig(keep=5), "iterations": 99}
    )
    assert refusal(begun, other) == (
        f"run directory {begun} is of another configuration: env.columns is 5 there, 9 asked for; "
        "seed is 0 there, 7 asked for; choose another --run-dir or the same settings"
    )


def test_what_may_change_is_recorded_and_reported(begun: Path):
    grown = DEBUG.model_copy(update={"iterations": 5, "checkpoint": CheckpointConfig(keep=5)})
    with claimed(begun, grown) as run:
        assert run.begin(grown) == ["checkpoint.keep was 3, is 5", "iterations was 3, is 5"]
        assert run.config() == grown
        assert run.begin(grown) == []


def test_a_run_that_began_explains_itself(begun: Path):
    entries = {path.name + "/" * path.is_dir() for path in begun.iterdir()}
    assert entries == {".lock", "README.txt", "config.json", "media/", "checkpoints/", "replay/"}
    listed = {line.split()[0] for line in (begun / "README.txt").read_text().splitlines()[2:]}
    run = RunDirectory.open(begun)
    parts = [run.config_file, run.metrics_file, run.timings_file, run.scores_file, run.evaluation_file, run.mark_file]
    directories = [run.media, run.replay, run.checkpoints, run.failures, run.path / PLANS, run.path / SURPRISE]
    run.close()
    assert listed == {path.name for path in parts} | {f"{path.name}/" for path in directories}


def test_config_json_holds_the_whole_configuration(begun: Path):
    assert json.loads((begun / "config.json").read_text()) == DEBUG.model_dump(mode="json")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        (DEBUG.model_dump_json().replace('"seed":0', '"seed":"0"'), "seed: Input should be a valid integer"),
        (DEBUG.model_dump_json().replace('"seed":0', '"sede":0'), "sede: Extra inputs are not permitted"),
        (DEBUG.model_dump_json().replace('"rows":10', '"rows":0'), "env.rows: Input should be greater"),
    ],
)
def test_a_damaged_config_json_is_one_line(begun: Path, content: str, says: str):
    (begun / "config.json").write_text(content)
    message = refusal(begun)
    assert message.startswith(f"{begun / 'config.json'}: ")
    assert says in message


def test_a_directory_below_a_file_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "run"
    assert refusal(path) == f"run directory {path}: cannot be made (Not a directory)"


def test_a_directory_without_permission_to_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Permission bits do not hold root back, who runs the tests in containers: the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    expected = f"run directory {tmp_path}: found no permission to write, expected a writable directory"
    assert refusal(tmp_path) == expected
    assert list(tmp_path.iterdir()) == []


def test_only_a_run_can_be_opened(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=r"found no run there, expected a directory with config\.json"):
            RunDirectory.open(path)
    assert list(tmp_path.iterdir()) == []


def test_the_default_directory_names_preset_game_and_seed():
    assert default_run_dir(DEBUG) == Path("runs/debug-catch-seed0")


def run_name_of(game: str) -> str:
    return run_name(RunConfig(preset="gym", algorithm=DEBUG.algorithm, env=GymConfig(id=game)))


@pytest.mark.parametrize(
    "game", ["../../etc/passwd-v0", "/tmp/Name-v0", "module.sub:ns/Name-v0", "..", "a b\n-v0", "ü"]
)
def test_a_run_name_cannot_leave_its_directory(game: str):
    name = run_name_of(game)
    assert Path(name).name == name
    assert name.startswith("gym-")
    assert name.endswith("-seed0")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def _content(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_a_long_run_name_is_cut_and_stays_its_own():
    first, second = (
        run_name(RunConfig(preset="gym", algorithm=DEBUG.algorithm, env=GymConfig(id="g" * 200 + end))) for end in "ab"
    )
    assert len(first) == len(second) == 100
    assert first != second
