"""Checks every stored byte of a society."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np

from learners.quizzes.culture import Culture
from learners.quizzes.tasks import are_trivial
from learners.quizzes.validation import are_kept
from learners.reading import read_file
from pipeline.checkpoint import Committed, load_commit
from pipeline.quizzes.config import QuizzesConfig
from pipeline.quizzes.directory import Link, SocietyDirectory, SocietyState
from pipeline.records import Record, records_of
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
        cultures: list[Culture] = []
        try:
            cultures = directory.check(config, newest.state)
        except ValueError as error:
            faults.append(f"checkpoint {newest.path.name}: {error}")
        faults += _kept(config, links, cultures)
        metrics = newest.read(METRICS_FILE)
        if not _holds(directory, metrics):
            faults.append(f"{METRICS_FILE}: does not begin with what checkpoint {newest.path.name} holds of it")
        faults += _counts(config, records_of(metrics), {link.round: link.count for link in links}, newest.iteration)
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


def _kept(config: QuizzesConfig, links: Sequence[Link], cultures: Sequence[Culture]) -> Iterator[str]:
    """What is wrong with quizzes that were kept: each asks something, is there once, and has the votes of the rule."""
    rule, seen = config.society.validation, set[bytes]()
    for link, culture in zip(links, cultures, strict=False):
        if trivial := int(are_trivial(culture.quizzes).sum()):
            yield f"{link.name}: found {trivial} quizzes that ask nothing"
        keys = [cells.tobytes() for cells in culture.cells]
        if twice := len(keys) - len(set(keys) - seen):
            yield f"{link.name}: found {twice} quizzes that were kept before"
        seen.update(keys)
        # Who was asked, where not all are, is drawn from a stream of the batch, of which only a part is here.
        if not rule.judges and not (agree := are_kept(culture.votes, rule, np.random.default_rng(0))).all():
            yield f"{link.name}: found {int((~agree).sum())} quizzes whose votes do not keep them"


def _counts(config: QuizzesConfig, records: Sequence[Record], kept: dict[int, int], rounds: int) -> Iterator[str]:
    """What does not add up in the metrics of so many rounds, of which some kept quizzes."""
    if (numbers := [record["iteration"] for record in records]) != list(range(1, rounds + 1)):
        yield f"{METRICS_FILE}: found {len(numbers)} rounds, expected 1 to {rounds}"
    size = 0
    for record in records:
        number = int(record["iteration"])
        generated, trivial, duplicate, validated, told = (
            record.get(f"culture/{name}", 0) for name in ("generated", "trivial", "duplicate", "validated", "kept")
        )
        judged = sum(value for name, value in record.items() if name.startswith("culture/understood by "))
        if judged != (expected := generated - trivial - duplicate):
            yield f"round {number}: found {judged:g} judged quizzes, expected {expected:g}"
        if told != min(validated, config.society.validation.wanted):
            yield f"round {number}: found {told:g} quizzes kept, expected as many as validated or wanted"
        if told != kept.get(number, 0):
            yield f"round {number}: found {kept.get(number, 0)} quizzes, expected {told:g}"
        size += kept.get(number, 0)
        if (found := record.get("culture/size")) != size:
            yield f"round {number}: found a culture of {found}, expected {size}"
