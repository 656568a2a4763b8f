"""Does a change of the code change what runs compute? Hashes of everything that small runs come to, name by name.

Each run is played by `python -m pipeline.train` in a directory of its own; hashed are the weights of every part, all
steps, every metric and the scores, whatever files they lie in. With --check, the values are compared with recorded
ones: the exit code is 1, and every name whose value differs is printed. Values hold for one kind of CPU and one version
of torch; a resume or a kill does not change them.

    python -m benchmarks.golden --out benchmarks/results/golden.json
    python -m benchmarks.golden --check benchmarks/results/golden.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from benchmarks.hardware import describe
from pipeline.checkpoint import Checkpoints
from pipeline.config import RunConfig
from pipeline.records import read_records
from pipeline.run_dir import CHECKPOINTS, CONFIG_FILE, METRICS_FILE, SCORES_FILE, RunDirectory

RUNS = {
    "debug": ["debug"],
    "debug-atari": ["debug-atari"],
    "catch, 12 iterations": ["catch", "--iterations", "12"],
    "debug, overlapped, 2 collectors": [
        *("debug", "--schedule", "overlapped", "--collection.num-collectors", "2"),
    ],
}
CORES = 4
"""That Ray is told the machine has, so that there is room for every run; with THREADS given, no result changes."""
TRAIN = f"""
import sys
from cluster import connect
connect.num_cores = lambda: {CORES}
from pipeline.train import main
sys.exit(main(sys.argv[1:]))
"""
THREADS = 2
"""Of the learner: their number changes the last bits."""
COLUMNS = {
    "frames": "|u1",
    "actions": "<i4",
    "rewards": "<f4",
    "terminated": "?",
    "truncated": "?",
    "episodes": "<i8",
    "episode_steps": "<i4",
}
"""Of the steps, with the form in which they are hashed."""
Values = dict[str, str]
"""Name -> the first digits of sha256."""


def main(argv: Sequence[str] | None = None) -> int:
    flags = argparse.ArgumentParser(
        prog="python -m benchmarks.golden", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--runs", nargs="+", default=list(RUNS), choices=RUNS, metavar="RUN", help=f"of {list(RUNS)}")
    flags.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="of every run, last: --in-process, say")
    flags.add_argument("--out", type=Path, help="file for the values")
    flags.add_argument("--check", type=Path, help="file with recorded values")
    arguments = flags.parse_args(argv)
    recorded = json.loads(arguments.check.read_text())["runs"] if arguments.check else {}
    found = {name: play(name, arguments.flags) for name in arguments.runs}
    if arguments.out:
        text = json.dumps({"hardware": describe(), "threads": THREADS, "runs": found}, indent=1)
        arguments.out.write_text(text + "\n")
    differing = [
        f"{run}: {name}: found {values.get(name)}, recorded {recorded[run].get(name)}"
        for run, values in found.items()
        if run in recorded
        for name in sorted(values.keys() | recorded[run].keys())
        if values.get(name) != recorded[run].get(name)
    ]
    print("\n".join(differing or [f"{sum(map(len, found.values()))} values"]))
    return 1 if differing else 0


def play(name: str, flags: Sequence[str]) -> Values:
    """Plays one run and hashes what it comes to."""
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory, "run")
        command = [sys.executable, "-c", TRAIN, *RUNS[name], "--cluster.learner-threads", str(THREADS)]
        subprocess.run([*command, "--run-dir", str(run), *flags], check=True, stdout=sys.stderr)
        return {**weights(run), **steps(run), **metrics(run), **scores(run)}


def weights(run: Path) -> Values:
    """Of every part after the last iteration."""
    values = {}
    newest = Checkpoints(run / CHECKPOINTS, keep=3).paths()[-1]
    for path in sorted(newest.glob("*.safetensors")):
        for name, tensor in load(path.read_bytes()).items():
            if name.startswith("weights."):
                values[f"{path.stem}/{name.removeprefix('weights.')}"] = _hash([tensor])
    return values


def steps(run: Path) -> Values:
    """Each column of all steps, in the order of iterations, environments and time."""
    config = RunConfig.model_validate_json((run / CONFIG_FILE).read_bytes())
    checkpoint = Checkpoints(run / CHECKPOINTS, keep=3).newest()
    chunks = list(RunDirectory(run).store(config).all_chunks(checkpoint.state.experience)) if checkpoint else []
    values = {
        f"steps/{name}": _hash(getattr(chunk, name).astype(form) for chunk in chunks) for name, form in COLUMNS.items()
    }
    places = [(chunk.iteration, chunk.environment, chunk.policy_version) for chunk in chunks for _ in range(len(chunk))]
    return {**values, "steps/places": _hash([np.array(places, "<i8")])}


def metrics(run: Path) -> Values:
    """Each metric over all iterations."""
    series: dict[str, list[Any]] = {}
    for record in read_records(run / METRICS_FILE):
        for name, value in record.items():
            series.setdefault(name, []).append((record["iteration"], value))
    return {f"metrics/{name}": _digits(json.dumps(each).encode()) for name, each in series.items()}


def scores(run: Path) -> Values:
    found: Mapping[str, Any] = json.loads((run / SCORES_FILE).read_text())
    return {"scores": _digits(json.dumps([[each["score"], each["length"]] for each in found["episodes"]]).encode())}


def _hash(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    return _digits(*(np.ascontiguousarray(array).tobytes() for array in arrays))


def _digits(*pieces: bytes) -> str:
    hashed = sha256()
    for piece in pieces:
        hashed.update(piece)
    return hashed.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
