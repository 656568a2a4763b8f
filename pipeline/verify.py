"""`python -m pipeline.verify RUN_DIR [--digest]`: checks every stored byte of a run and counts its steps.

Changes nothing there. Exit code 0 if all checksums hold and the steps found are the steps planned, 1 if not, 2 if
RUN_DIR is no run, is in use, or has lost all its commits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from learners.reading import read_file
from pipeline.cli import Positional, Tool, command, parse_arguments
from pipeline.config import RunConfig
from pipeline.run_dir import METRICS_FILE, RunDirectory

if TYPE_CHECKING:
    from actors.store_index import Index
    from pipeline.checkpoint import Checkpoint


class Arguments(Tool):
    """Checks every stored byte of a run and counts its steps."""

    run_dir: Annotated[Path, Positional()]
    """What `python -m pipeline.train` wrote."""
    digest: bool = False
    """Also print one hash of the run's logical content: transitions, weights, optimisers, metrics, scores. It does not
    depend on how files are laid out or on how often the run was interrupted."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, "python -m pipeline.verify")
    run = RunDirectory.open(arguments.run_dir)
    try:
        return verify(run, arguments.digest)
    finally:
        run.close()


def verify(run: RunDirectory, digest: bool) -> int:
    from actors.audit import audit
    from actors.damage import DamagedExperienceError
    from actors.store_index import lost_by_iteration
    from pipeline.checkpoint import Checkpoints, load
    from pipeline.commit_mark import check_commits
    from pipeline.finish import scores_bytes

    config = run.config()
    check_commits(run.path, config)
    faults = []
    newest = None
    checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
    for path in checkpoints.paths():
        try:
            newest = load(path)
        except ValueError as error:
            faults.append(str(error))
    iteration = newest.iteration if newest else 0
    if newest:
        if newest.state.identity != config.identity_hash():
            faults.append(f"config.json: not the configuration of checkpoint {newest.path.name}")
        faults += _differs(run.metrics_file, newest.read(METRICS_FILE), newest)
        if newest.iteration == config.iterations and run.scores_file.exists():
            faults += _differs(run.scores_file, scores_bytes(config, newest), newest)
    store = run.store(config)
    link, lost = (newest.state.experience, newest.state.lost) if newest else (None, [])
    history: list[Index] = []
    try:
        history = store.history(link)
        damaged = [*store.damaged_indices(link), *audit(store, history, lost)]
    except DamagedExperienceError as error:
        damaged = [error.damage]
    faults += [f"replay store: {damage}" for damage in damaged]
    known, accepted = sum(index.steps for index in history), sum(each.steps for each in lost)
    if known != (planned := config.planned_steps(iteration)):
        faults.append(f"replay store: found {known} steps, expected {planned}")
    print(f"{run.path}: {config.preset} on {config.game}, seed {config.seed}")
    print(f"  last commit    iteration {iteration} of {config.iterations}, {len(checkpoints.paths())} checkpoints kept")
    episodes = sum(index.episodes for index in history)
    print(f"  steps          {known - accepted} found, {planned} planned, in {episodes} episodes")
    if lost:
        iterations = ", ".join(map(str, lost_by_iteration(lost)))
        print(f"  lost           {accepted} steps of iterations {iterations}, which was accepted")
    strays = store.strays(history) if history or not link else []
    beyond = [path.name for path in strays if path.name.isdecimal() and int(path.name) > iteration]
    if beyond:
        print(f"  beyond         iteration {', '.join(beyond)}, which was not committed; a resume plays it again")
    if leftovers := len(strays) - len(beyond):
        print(f"  left over      {leftovers} files that no commit names; the next start removes them")
    for fault in faults:
        print(f"  DAMAGED        {fault}")
    if faults:
        return 1
    print("  checksums      all hold")
    if digest:
        print(f"  digest         {logical_digest(run, config)}")
    return 0


def _differs(path: Path, expected: bytes, checkpoint: Checkpoint) -> list[str]:
    """One fault if the file does not begin with what a checkpoint holds of it."""
    try:
        found = read_file(path)
    except FileNotFoundError:
        found = b""
    except OSError as error:
        return [f"{path.name}: cannot be read ({error.strerror})"]
    if found.startswith(expected):
        return []
    where = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), len(found))
    return [f"{path.name}: found {len(found)} bytes that differ from checkpoint {checkpoint.path.name} at {where}"]


def logical_digest(run: RunDirectory, config: RunConfig) -> str:
    """sha256 over what the run is: its transitions, weights, optimisers, environment states, metrics and scores."""
    from pipeline.checkpoint import Checkpoints

    newest = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
    hashed = sha256()
    if newest:
        for chunk in run.store(config).all_chunks(newest.state.experience, newest.state.lost):
            hashed.update(chunk.logical_bytes())
        for name, file_hash in sorted(newest.files.items()):
            hashed.update(f"{name} {file_hash}\n".encode())
        hashed.update(repr(newest.state.evaluation).encode())
    return hashed.hexdigest()


if __name__ == "__main__":
    command(main)
