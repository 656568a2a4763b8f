"""A sweep on a cluster that is a list: its jobs end when a test says so, and its clock is the test's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import LostError
from cluster.jobs import Job
from pipeline import sweep as module
from pipeline.errors import UsageError
from pipeline.manifest import Manifest
from pipeline.sweep import Sweep, main, plan

Event = Callable[["FakeCluster"], None]


class FakeCluster:
    """Has room for `slots` jobs; at each second of `events` something happens."""

    def __init__(self, slots: int = 9) -> None:
        self.now = 1000.0
        self.slots = slots
        self.jobs: list[Job] = []
        self.events: dict[int, Event] = {}
        self.most_at_once = 0
        self.is_silent = False

    def sleep(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1.0
            self.events.pop(round(self.now) - 1000, lambda cluster: None)(self)
        assert self.now < 100_000, "the sweep does not end"

    def list(self) -> list[Job]:
        if self.is_silent:
            raise LostError("the cluster at http://test does not answer: silence")
        return list(self.jobs)

    def submit(self, run: str, attempt: int, entrypoint: Sequence[str], working_dir: Path) -> None:
        assert entrypoint[:3] == ["python", "-m", "pipeline.train"]
        assert (working_dir / "pyproject.toml").exists()
        self.jobs.append(Job(f"{run}.{attempt}", run, attempt, "running", "", self.now))
        self.most_at_once = max(self.most_at_once, sum(job.is_active for job in self.jobs))

    def stop(self, job: Job) -> None:
        self.end(job.id, "stopped")

    def room(self, bundles: Sequence[dict[str, float]], num_active: int) -> int:
        assert bundles == [{"CPU": 1}]
        return self.slots - num_active

    def largest_node(self) -> dict[str, float]:
        return {"CPU": 4.0, "GPU": 0.0}

    def last_error(self, job: Job) -> str:
        return f"error: {job.id} broke"

    def end(self, job_id: str, status: Any) -> None:
        index = next(i for i, job in enumerate(self.jobs) if job.id == job_id)
        self.jobs[index] = replace(self.jobs[index], status=status)

    @property
    def active(self) -> list[str]:
        return [job.id for job in self.jobs if job.is_active]


class World:
    """Two games, one manifest, one cluster."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = tmp_path / "runs"
        self.root.mkdir()
        self.path = tmp_path / "test.toml"
        self.cluster = FakeCluster()
        monkeypatch.setattr(module.time, "sleep", self.cluster.sleep)
        monkeypatch.setattr(module.time, "monotonic", lambda: self.cluster.now)
        self.write()

    def write(self, **settings: object) -> None:
        lines = [f'root = "{self.root}"', 'presets = ["debug-atari"]', 'games = ["Pong", "Breakout"]']
        lines += [
            'flags = ["--cluster.learner-threads", "1"]',
            *(f"{key} = {value}" for key, value in settings.items()),
        ]
        self.path.write_text("\n".join(lines))

    def sweep(self, *, again: bool = False) -> Sweep:
        cluster: Any = self.cluster
        return Sweep(Manifest.read(self.path), cluster, again=again)

    def finish(self, run: str, attempt: int = 1) -> Event:
        """A run ends well: so do its job and its files."""

        def event(cluster: FakeCluster) -> None:
            directory = self.root / run
            (directory / "checkpoints" / "000003").mkdir(parents=True, exist_ok=True)
            (directory / "metrics.jsonl").write_text('{"iteration": 3, "evaluation/score_mean": 1.5}\n')
            (directory / "timings.jsonl").write_text('{"iteration": 3, "total": 3.0, "collect": 2.0}\n')
            (directory / "scores.json").write_text(json.dumps({"iterations": 3}))
            cluster.end(f"{run}.{attempt}", "succeeded")

        return event


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


PONG, BREAKOUT = "debug-atari-Pong-seed0", "debug-atari-Breakout-seed0"


def fail(job: str) -> Event:
    return lambda cluster: cluster.end(job, "failed")


def names(cluster: FakeCluster) -> list[str]:
    return [job.id for job in cluster.jobs]


def test_every_run_is_submitted_once_and_waited_for(world: World, capsys: pytest.CaptureFixture[str]):
    world.cluster.events = {20: world.finish(PONG), 40: world.finish(BREAKOUT)}
    assert world.sweep().submit(detach=False) == 0
    assert names(world.cluster) == [f"{PONG}.1", f"{BREAKOUT}.1"]
    assert 40 <= world.cluster.now - 1000 <= 50
    assert capsys.readouterr().out.splitlines()[-1] == "2 finished"
    assert world.sweep().submit(detach=False) == 0
    assert len(world.cluster.jobs) == 2


@pytest.mark.parametrize(("slots", "settings"), [(1, {}), (9, {"max_concurrent": 1})], ids=["room", "manifest"])
def test_no_more_than_there_is_room_for(world: World, slots: int, settings: dict[str, int]):
    world.cluster.slots = slots
    world.write(**settings)
    world.cluster.events = {20: world.finish(PONG), 40: world.finish(BREAKOUT)}
    assert world.sweep().submit(detach=False) == 0
    assert world.cluster.most_at_once == 1


def test_a_run_that_fails_is_tried_again_after_pauses_that_grow_until_it_has_failed_too_often(
    world: World, capsys: pytest.CaptureFixture[str]
):
    world.write(retries=2)
    world.cluster.events = {
        3: world.finish(BREAKOUT),
        10: fail(f"{PONG}.1"),
        30: fail(f"{PONG}.2"),
        60: fail(f"{PONG}.3"),
    }
    sweep = world.sweep()
    assert sweep.submit(detach=False) == 1
    assert names(world.cluster) == [f"{PONG}.1", f"{BREAKOUT}.1", f"{PONG}.2", f"{PONG}.3"]
    pauses = [job.submitted_at - 1000 for job in world.cluster.jobs]
    assert 20 <= pauses[2] <= 26
    assert 50 <= pauses[3] <= 56
    assert capsys.readouterr().out.splitlines()[-1] == "1 failed, 1 finished"
    assert next(iter(sweep.table().columns[-1].cells)) == f"error: {PONG}.3 broke"
    assert world.sweep().submit(detach=False) == 1  # it still has, whoever asks

    world.cluster.events = {round(world.cluster.now) - 1000 + 9: world.finish(PONG, attempt=4)}
    assert world.sweep(again=True).submit(detach=False) == 0


def test_the_process_that_submits_can_be_replaced_at_any_time(world: World):
    world.cluster.slots = 1

    class Killed(BaseException): ...

    def kill(cluster: FakeCluster) -> None:
        raise Killed

    world.cluster.events = {12: kill}
    with pytest.raises(Killed):
        world.sweep().submit(detach=False)
    world.cluster.events = {30: world.finish(PONG), 50: world.finish(BREAKOUT)}
    assert world.sweep().submit(detach=False) == 0
    assert names(world.cluster) == [f"{PONG}.1", f"{BREAKOUT}.1"]


def test_after_stop_nothing_more_is_submitted_until_it_is_resumed(world: World, capsys: pytest.CaptureFixture[str]):
    world.cluster.slots = 1
    world.cluster.events = {12: lambda cluster: print(world.sweep().stop())}
    assert world.sweep().submit(detach=False) == 1
    assert names(world.cluster) == [f"{PONG}.1"]
    assert capsys.readouterr().out.splitlines()[-1] == "1 stopped, 1 waiting"

    world.cluster.events = {40: world.finish(BREAKOUT)}
    assert world.sweep().submit(detach=False) == 1  # what was stopped stays so
    assert names(world.cluster) == [f"{PONG}.1", f"{BREAKOUT}.1"]
    now = round(world.cluster.now) - 1000
    world.cluster.events = {now + 10: world.finish(PONG, attempt=2)}
    assert world.sweep(again=True).submit(detach=False) == 0


def test_a_cluster_that_comes_back_without_memory_costs_no_finished_run(world: World):
    """As when its head died: the jobs are gone, the directories are there."""

    def die(cluster: FakeCluster) -> None:
        cluster.is_silent = True

    def return_empty(cluster: FakeCluster) -> None:
        cluster.is_silent = False
        cluster.jobs = []

    world.cluster.events = {10: world.finish(PONG), 20: die, 200: return_empty, 230: world.finish(BREAKOUT)}
    assert world.sweep().submit(detach=False) == 0
    assert names(world.cluster) == [f"{BREAKOUT}.1"]


def test_a_cluster_that_stays_silent_is_given_up(world: World):
    world.cluster.is_silent = True
    with pytest.raises(LostError, match="does not answer"):
        world.sweep().submit(detach=False)
    assert 600 <= world.cluster.now - 1000 <= 620


def test_detached_it_submits_what_fits_and_leaves(world: World):
    world.cluster.slots = 1
    assert world.sweep().submit(detach=True) == 0
    assert (world.cluster.active, world.cluster.now) == ([f"{PONG}.1"], 1000.0)


def test_where_the_directories_cannot_be_seen_the_jobs_word_counts(world: World):
    world.root.rmdir()
    world.cluster.events = {
        9: lambda c: c.end(f"{PONG}.1", "succeeded"),
        12: lambda c: c.end(f"{BREAKOUT}.1", "succeeded"),
    }
    assert world.sweep().submit(detach=False) == 0
    assert len(world.cluster.jobs) == 2


def test_a_finished_run_whose_directory_was_deleted_is_played_again(world: World):
    world.cluster.events = {9: world.finish(PONG), 12: world.finish(BREAKOUT)}
    assert world.sweep().submit(detach=False) == 0
    shutil.rmtree(world.root / PONG)
    assert world.sweep().submit(detach=True) == 0
    assert world.cluster.active == [f"{PONG}.2"]


def test_the_table_tells_how_far_every_run_is(world: World):
    world.sweep().submit(detach=True)
    directory = world.root / PONG
    (directory / "checkpoints" / "000001").mkdir(parents=True)
    (directory / "metrics.jsonl").write_text('{"iteration": 1, "evaluation/score_mean": 1.25}\n{"iteration": 2}\n{"it')
    (directory / "timings.jsonl").write_text('{"iteration": 1, "total": 9.0}\n{"iteration": 2, "total": 30.0}\n')
    sweep = world.sweep()
    sweep.look()
    rows = list(zip(*(column.cells for column in sweep.table().columns), strict=True))
    assert rows == [
        (PONG, "running", "2/3", "1.0", "1.25", "0", "0 min", ""),
        (BREAKOUT, "running", "0/3", "", "", "0", "", ""),
    ]


def test_a_run_that_lost_its_commits_is_shown_and_not_submitted(world: World):
    (world.root / PONG).mkdir()
    (world.root / PONG / "committed.txt").write_text("")
    sweep = world.sweep()
    sweep.submit(detach=True)
    assert world.cluster.active == [f"{BREAKOUT}.1"]
    sweep.look()
    row = next(zip(*(column.cells for column in sweep.table().columns), strict=True))
    assert row[:3] == (PONG, "failed", "0/3")
    assert str(row[-1]).startswith(f"{world.root / PONG}: found committed.txt, but no checkpoints/; expected ")


def test_the_plan_says_what_it_costs_as_far_as_that_is_known(world: World):
    manifest = Manifest.read(world.path)
    assert plan(manifest).splitlines() == [
        f"sweep test: 2 runs in {world.root}",
        f"  {PONG}",
        f"  {BREAKOUT}",
        "in all 120 environment steps in 6 iterations",
        "  debug-atari: the time of a run is not known: none has finished here",
    ]
    world.sweep().submit(detach=True)
    world.finish(PONG)(world.cluster)
    (world.root / PONG / "timings.jsonl").write_text('{"iteration": 3, "total": 5400.0}\n')
    assert plan(manifest).splitlines()[-1] == "  debug-atari: 1 h 30 min a run, as 1 finished took; 3 h 00 min in all"


def test_a_plan_needs_no_cluster(world: World, capsys: pytest.CaptureFixture[str]):
    assert main(["submit", str(world.path), "--dry-run", "--address", "http://127.0.0.1:1"]) == 0
    assert "sweep test: 2 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["begin"], "'submit'"),
        ([], "ACTION"),
        (["submit"], "MANIFEST"),
        (["status", "x", "--adress", "y"], "--address"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments: list[str], words: str):
    with pytest.raises(UsageError) as refused:
        main([*arguments, *(["none.toml"] if arguments == ["begin"] else [])])
    (line,) = str(refused.value).splitlines()
    assert words in line
