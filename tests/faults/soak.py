"""Kills, crashes and damage for as long as asked, at random places: `make soak MINUTES=60`.

Every fault must strike, and after it the run must end with the very bytes of a run that nothing happened to. Prints a
table; exit code 1 if anything was lost. With Ray's own health checks, but for the nodes.

    python -m tests.faults.soak --minutes 60 --out benchmarks/results/soak.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hardware import describe
from cluster.config import ClusterConfig
from cluster.connect import connect, disconnect
from cluster.ray_processes import RayProcesses
from pipeline.errors import RunFailedError, UsageError
from tests.faults.local import Crash, failing_disk, finds_or_repairs, local_config, mutate, play_locally
from tests.faults.scene import Fault, play, processes_for_fakes
from tests.faults.stand_ins import DISK_CALLS, KINDS, PHASES, config_of

LAUNCH_TIMEOUT_S = 600
LOCAL_ITERATIONS = 4


@dataclass
class Count:
    struck: int = 0
    missed: int = 0
    """Faults that hit nothing: they do not count."""
    wrong: list[str] = field(default_factory=list)
    """After which something was lost, doubled, or raised."""
    slowest_s: float = 0.0
    """Until there was progress again."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the places")
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args(argv)
    counts: defaultdict[str, Count] = defaultdict(Count)
    rng = np.random.default_rng(flags.seed)
    start, rounds, minutes = time.monotonic(), 0, 0.0
    connect(ClusterConfig(object_store_mb=100))
    try:
        processes = processes_for_fakes()
        while minutes < flags.minutes:
            rounds += 1
            with tempfile.TemporaryDirectory() as folder:
                crash_disks(Path(folder), rng, counts["crash of all at a disk call"], 20)
                damage_files(Path(folder), rng, counts["damaged file"], 150)
                kill_actors(Path(folder), processes, rng, counts, 8)
                kill_drivers(Path(folder), processes, rng, counts["kill of the driver"], 2)
                if rounds % 5 == 1:
                    kill_nodes(Path(folder), processes, counts["kill of a node"], 2)
            minutes = (time.monotonic() - start) / 60.0
            print(f"after {minutes:.1f} minutes\n{table(counts)}", flush=True)
    finally:
        disconnect()
    if flags.out:
        rows = {name: vars(count) for name, count in sorted(counts.items())}
        command = f"python -m tests.faults.soak --minutes {flags.minutes:g} --seed {flags.seed}"
        found = {"command": command, "minutes": round(minutes, 1), "faults": rows, "hardware": describe()}
        flags.out.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if any(count.wrong for count in counts.values()) else 0


def crash_disks(folder: Path, rng: np.random.Generator, count: Count, times: int) -> None:
    config = local_config(LOCAL_ITERATIONS)
    undisturbed = play_locally(folder / "local", config)
    with failing_disk(-1) as calls:
        play_locally(folder / "counted", config)
    for number in range(times):
        path = folder / f"crash-{number}"
        places = [int(rng.integers(len(calls))) for _ in range(2)]  # the second one while it recovers from the first
        for place in places:
            try:
                with failing_disk(place):
                    play_locally(path, config)
                count.missed += 1
            except Crash:
                count.struck += 1
        if play_locally(path, config) != undisturbed:
            count.wrong.append(f"crashes at the calls {places} of the disk")
        shutil.rmtree(path)


def damage_files(folder: Path, rng: np.random.Generator, count: Count, times: int) -> None:
    whole, longer = folder / "whole", local_config(LOCAL_ITERATIONS + 3)
    before = play_locally(whole, local_config(LOCAL_ITERATIONS))
    expected = play_locally(Path(shutil.copytree(whole, folder / "longer")), longer)
    for number in range(times):
        path = Path(shutil.copytree(whole, folder / f"damage-{number}"))
        what = mutate(path, rng)
        count.struck += 1
        try:
            with suppress(UsageError):
                if not finds_or_repairs(path, before.digest):
                    count.wrong.append(f"not found: {what}")
            if play_locally(path, longer) != expected:
                count.wrong.append(f"another end: {what}")
        except (UsageError, RunFailedError):
            pass
        except Exception as error:
            count.wrong.append(f"{type(error).__name__}: {what}")
        shutil.rmtree(path)


def kill_actors(
    folder: Path, processes: RayProcesses, rng: np.random.Generator, counts: dict[str, Count], times: int
) -> None:
    """Every kind in turn, one an iteration."""
    config = config_of(times + 3)
    faults = []
    for iteration in range(2, times + 2):
        kind, phase = KINDS[iteration % len(KINDS)], str(rng.choice(PHASES))
        fault = Fault(kind, iteration, phase, delay_s=float(rng.choice([0.0, rng.uniform(0.0, 0.05)])))
        if kind == "collector" and rng.random() < 0.5:
            fault = Fault(kind, iteration, "collect", disk_call=str(rng.choice(DISK_CALLS[:3])), count=1)
        faults.append(fault)
    undisturbed = play(folder / "quiet", config, processes)
    disturbed = play(folder / "actors", config, processes, faults)
    for fault in faults:
        count = counts[f"kill of a {fault.kind}"]
        count.struck += fault.hit is not None
        count.missed += fault.hit is None
        count.slowest_s = max(count.slowest_s, fault.recovered_s or 0.0)
        if disturbed != undisturbed:
            count.wrong.append(f"one of {', '.join(map(str, faults))}")
    for name in ("quiet", "actors"):
        shutil.rmtree(folder / name)


def kill_drivers(folder: Path, processes: RayProcesses, rng: np.random.Generator, count: Count, times: int) -> None:
    undisturbed = play(folder / "quiet", config_of(times + 2), processes)
    for number in range(times):
        phase, call = str(rng.choice(PHASES)), str(rng.choice(DISK_CALLS[:3]))
        place: list[Any] = [phase, number + 1, rng.uniform(0.0, 0.05)]
        if phase == "commit":
            place += [call, int(rng.integers(1, 6))]
        killed = launch(folder / "driver", times + 2, place)
        count.struck += killed.returncode == -signal.SIGKILL
        count.missed += killed.returncode != -signal.SIGKILL
    done = launch(folder / "driver", times + 2, [])
    if done.returncode or done.stdout.splitlines()[-1] != f"digest: {undisturbed.digest}":
        count.wrong.append(done.stdout[-1000:] + done.stderr[-1000:])
    for name in ("quiet", "driver"):
        shutil.rmtree(folder / name)


def launch(path: Path, iterations: int, fault: Sequence[object]) -> subprocess.CompletedProcess[str]:
    import ray  # after `cluster`, which settles how Ray may be reached

    address = ray.get_runtime_context().gcs_address
    return _python("tests.faults.launch", path, iterations, *fault, RAY_ADDRESS=address)


def kill_nodes(folder: Path, processes: RayProcesses, count: Count, times: int) -> None:
    undisturbed = play(folder / "quiet", config_of(2 * times + 2), processes)
    done = _python("tests.faults.node", folder / "nodes", times)
    found = next((json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")), None)
    if found is None or found["digest"] != undisturbed.digest:
        count.wrong.append(done.stdout[-1000:] + done.stderr[-1000:])
        return
    count.struck += len(found["kills"])
    count.slowest_s = max(count.slowest_s, *(kill["recovered_s"] for kill in found["kills"]))
    for name in ("quiet", "nodes"):
        shutil.rmtree(folder / name)


def _python(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
        capture_output=True,
        text=True,
        timeout=LAUNCH_TIMEOUT_S,
    )


def table(counts: dict[str, Count]) -> str:
    lines = [f"  {'fault':<30}{'struck':>8}{'wrong':>8}{'missed':>8}{'slowest recovery':>20}"]
    for name, count in sorted(counts.items()):
        slowest = f"{count.slowest_s:.1f} s" if count.slowest_s else ""
        lines.append(f"  {name:<30}{count.struck:>8}{len(count.wrong):>8}{count.missed:>8}{slowest:>20}")
        lines += [f"    WRONG {what}" for what in count.wrong]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
