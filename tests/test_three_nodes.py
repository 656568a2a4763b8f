"""A cluster of three nodes on this machine, as a person has it: real jobs, over HTTP, with a token."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import verify
from pipeline.errors import UsageError

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]
TIMEOUT_S = 800
GAMES, SEEDS, ITERATIONS = ("Pong", "Breakout"), (0, 1), 10
FLAGS = ("--cluster.learner-threads", "1", "--inspect-every", "1000", "--evaluation.every", "1000")
JOB = ("ray.scripts.scripts", "job")
PROJECT = str(Path(verify.__file__).parents[1])
Environment = Mapping[str, str]


@dataclass(frozen=True)
class LocalCluster:
    directory: Path
    environment: Environment
    """Of whoever talks to it."""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output

    def submit(self, name: str, *flags: str, wait: bool = True) -> tuple[int, str]:
        """Exit code and output of `ray job submit`, as docs/operations.md has it, of a run at debug size."""
        environment = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "30"}, "excludes": ["/tests", "/docs"]}
        options = ["--submission-id", name, "--working-dir", PROJECT, "--runtime-env-json", json.dumps(environment)]
        train = ["python", "-m", "pipeline.train", "debug", *FLAGS, *flags]
        return self.run(*JOB, "submit", *options, *([] if wait else ["--no-wait"]), "--", *train)

    def nodes(self) -> dict[int, int]:
        """Process id of every raylet -> number of its node."""
        files = self.directory.glob("node-*.pid")
        return {int(file.read_text()): int(file.stem.removeprefix("node-")) for file in files}


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    directory = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # The workers of nodes find the project where the tests do; a job brings its own copy.
    log = open(directory / "log", "w")  # noqa: SIM115 - the cluster's, until it ends
    command = [sys.executable, "-m", "cluster.local", "--dashboard-port", port, "--directory", str(directory)]
    path = f"{Path(sys.executable).parent}:{known['PATH']}"
    cluster = subprocess.Popen(command, env={**known, "PATH": path}, stdout=log, stderr=log)
    try:
        until(lambda: "nodes of" in (directory / "log").read_text() or cluster.poll() is not None)
        settings = dict(re.findall(r"export (\w+)=(.*)", (directory / "env").read_text()))
        assert (directory / "env").stat().st_mode & 0o777 == 0o600
        yield LocalCluster(directory, {**known, **settings})
    finally:
        cluster.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            cluster.wait(60)
        cluster.kill()
        log.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def is_verified(run: Path) -> bool:
    """False while a process that outlives its job is in there."""
    try:
        assert verify.main([str(run)]) == 0
    except UsageError as error:
        if not str(error).endswith("is in use by another process"):
            raise
        return False
    return True


def iterations(run_dir: Path) -> list[int]:
    """Those in metrics.jsonl."""
    with suppress(FileNotFoundError):
        text = (run_dir / "metrics.jsonl").read_text()
        return [json.loads(line)["iteration"] for line in text[: text.rfind("\n") + 1].splitlines()]
    return []


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def raylets_with(cluster: LocalCluster, kind: str) -> list[int]:
    """Of the nodes on which such a process is, one for each."""
    nodes, found = cluster.nodes(), []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if command.read_bytes().startswith(f"ray::{kind}".encode()):
                found.append(parent_of(int(command.parent.name)))
    return [raylet for raylet in found if raylet in nodes]


def node_of_a_learner(cluster: LocalCluster) -> int | None:
    """The raylet of a node other than the first on which a learner is; the first node holds the drivers."""
    nodes = cluster.nodes()
    return next((raylet for raylet in raylets_with(cluster, "Learner") if nodes[raylet] > 1), None)


def test_collectors_on_other_nodes_change_no_result(three_nodes: LocalCluster, tmp_path: Path):
    flags = ["--iterations", "4", "--collection.num-collectors", "2", "--evaluation.num-evaluators", "2"]
    beside, spread = tmp_path / "beside", tmp_path / "spread"
    code, output = three_nodes.run("pipeline.train", "debug", "--run-dir", str(beside), *FLAGS, *flags)
    assert code == 0, output  # with a Ray of its own

    words = ["--run-dir", str(spread), *flags, "--cluster.acting", "spread"]
    code, output = three_nodes.submit("spread", *words, wait=False)
    assert code == 0, output
    where: list[int] = []

    def all_are_there() -> bool:
        where[:] = [*raylets_with(three_nodes, "Collector"), *raylets_with(three_nodes, "Learner")]
        return len(where) == 3

    until(all_are_there)
    assert len(set(where)) == 3
    until(lambda: (spread / "scores.json").exists())

    digests = set()
    for run in (beside, spread):
        said = ""

        def is_verified(run: Path = run) -> bool:
            """Once the job has ended: until then, and until its processes are gone, the run is in use."""
            nonlocal said
            code, said = three_nodes.run("pipeline.verify", str(run), "--digest")
            assert code == 0 or said.endswith("is in use by another process\n"), said
            return code == 0

        until(is_verified)
        digests.add(said.rpartition("digest")[2].strip())
    assert len(digests) == 1


def test_a_sweep_survives_the_death_of_a_node_and_of_whoever_submits_it(
    three_nodes: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    manifest, root = tmp_path / "survivor.toml", tmp_path / "runs"
    flags = [*FLAGS, "--iterations", str(ITERATIONS)]
    lines = [f'root = "{root}"', 'presets = ["debug-atari"]', f"games = {list(GAMES)}", f"seeds = {list(SEEDS)}"]
    manifest.write_text("\n".join([*lines, f"flags = {json.dumps(flags)}", "max_concurrent = 2"]))
    runs = [root / f"debug-atari-{game}-seed{seed}" for seed in SEEDS for game in GAMES]

    submitter = three_nodes.start("pipeline.sweep", "submit", str(manifest))
    victims: list[int] = []

    def struck() -> bool:
        if any(len(iterations(run)) >= 2 for run in runs) and (raylet := node_of_a_learner(three_nodes)):
            os.kill(raylet, signal.SIGKILL)
            victims.append(raylet)
        return bool(victims)

    until(struck)
    submitter.kill()
    submitter.communicate()
    assert not all((run / "scores.json").exists() for run in runs)

    at_once = [three_nodes.start("pipeline.sweep", "submit", str(manifest)) for _ in range(2)]
    for process in at_once:
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, output.splitlines()[-1]) == (0, "4 finished"), output
    for run in runs:
        assert iterations(run) == list(range(1, ITERATIONS + 1))
        until(lambda run=run: is_verified(run))
        planned = ITERATIONS * 20
        assert f"{planned} found, {planned} planned" in capsys.readouterr().out
    code, output = three_nodes.run("pipeline.sweep", "status", str(manifest))
    assert code == 0
    assert output.count("finished") == 4

    code, output = three_nodes.run("pipeline.sweep", "submit", str(manifest))  # there is nothing left to do
    assert (code, output.splitlines()[-1]) == (0, "4 finished")


def test_a_job_stops_cleanly_and_goes_on_when_it_is_submitted_again(three_nodes: LocalCluster, tmp_path: Path):
    run = tmp_path / "run"
    code, output = three_nodes.submit("endless", "--run-dir", str(run), "--iterations", "10000", wait=False)
    assert code == 0, output
    until(lambda: len(iterations(run)) >= 2)
    code, output = three_nodes.run(*JOB, "stop", "endless")
    assert code == 0, output
    _, log = three_nodes.run(*JOB, "logs", "endless")
    (last,) = map(int, re.findall(r"stopped by SIGTERM: iteration (\d+) is the last commit; the same command", log))
    assert iterations(run) == list(range(1, last + 1))

    code, output = three_nodes.submit("again", "--run-dir", str(run), "--iterations", str(last + 1))
    assert code == 0, output
    assert f"resuming after iteration {last} ({20 * last} steps)" in output
    code, output = three_nodes.submit("nowhere")
    assert code != 0
    assert "error: --run-dir: found runs/debug-catch-seed0, expected an absolute path that every node sees" in output
