"""Checks every stored byte of a society."""

from __future__ import annotations

from hashlib import sha256

from learners.reading import read_file
from pipeline.checkpoint import Committed, load_commit
from pipeline.quizzes.directory import SocietyDirectory, SocietyState
from pipeline.records import records_of
from pipeline.run_dir import METRICS_FILE


def verify(directory: SocietyDirectory, digest: bool) -> int:
    """Prints what holds and what does not; 0 if all does, 1 if not. Raises UsageError if its settings are damaged."""
    config = directory.config()
    faults: list[str] = []
    newest: Committed[SocietyState] | None = None
    paths = directory.commits(config).paths()
    for path in paths:
        try:
            newest = load_commit(path, SocietyState)
        except ValueError as error:
            faults.append(str(error))
    if not paths and directory.mark_file.exists():
        faults.append("checkpoints: found no commit, expected at least one")
    links = newest.state.culture if newest else []
    if newest:
        try:
            directory.check(config, newest.state)
        except ValueError as error:
            faults.append(f"checkpoint {newest.path.name}: {error}")
        metrics = newest.read(METRICS_FILE)
        if not _holds(directory, metrics):
            faults.append(f"{METRICS_FILE}: does not begin with what checkpoint {newest.path.name} holds of it")
        faults += _counts(metrics, {link.round: link.count for link in links})
    strays = directory.strays(links) if directory.culture.is_dir() else []
    print(f"{directory.path}: {config.preset}, seed {config.seed}")
    print(
        f"  last commit    round {newest.iteration if newest else 0} of {config.rounds}, {len(paths)} checkpoints kept"
    )
    print(f"  culture        {sum(link.count for link in links)} quizzes of {len(links)} rounds")
    if strays:
        print(f"  left over      {len(strays)} files that no commit names; the next start removes them")
    for fault in faults:
        print(f"  DAMAGED        {fault}")
    if faults:
        return 1
    print("  checksums      all hold")
    if digest:
        files = {} if newest is None else dict(newest.files)
        named = sorted([*files.items(), *((link.name, link.sha256) for link in links)])
        accuracies = newest.state.accuracies if newest else []
        print(f"  digest         {sha256(repr((named, accuracies)).encode()).hexdigest()}")
    return 0


def _holds(directory: SocietyDirectory, metrics: bytes) -> bool:
    try:
        return read_file(directory.metrics_file).startswith(metrics)
    except OSError:
        return False


def _counts(metrics: bytes, kept: dict[int, int]) -> list[str]:
    """What does not add up."""
    faults = []
    size = 0
    for record in records_of(metrics):
        number = int(record["iteration"])
        generated, trivial, duplicate, told = (
            record.get(f"culture/{name}", 0) for name in ("generated", "trivial", "duplicate", "kept")
        )
        judged = sum(value for name, value in record.items() if name.startswith("culture/understood by "))
        if judged != (expected := generated - trivial - duplicate):
            faults.append(f"round {number}: found {judged:g} judged quizzes, expected {expected:g}")
        if told != kept.get(number, 0):
            faults.append(f"round {number}: found {kept.get(number, 0)} quizzes, expected {told:g}")
        size += kept.get(number, 0)
        if (found := record.get("culture/size")) != size:
            faults.append(f"round {number}: found a culture of {found}, expected {size}")
    return faults
