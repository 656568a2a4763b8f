"""What there is to say about a run before and after it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from learners.algorithm import AgentConfig
from learners.durable import write_durably
from learners.learner import count_parameters
from learners.reading import read_file
from pipeline.checkpoint import Checkpoint, Checkpoints
from pipeline.commit_mark import check_commits, leave_mark
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.evaluation import Episode, Evaluation, protocol_of, read
from pipeline.records import records_of
from pipeline.run_dir import METRICS_FILE, RunDirectory


def describe_networks(agent: AgentConfig) -> str:
    """Parameter counts of all parts, a line each."""
    return "\n".join(f"{part.name:<14}{count_parameters(part.module):>12,} parameters" for part in agent.build().parts)


def last_commit(run: RunDirectory, config: RunConfig) -> Checkpoint | None:
    """That of the last iteration; None if it is still to come.

    Raises: UsageError if the run has gone beyond that iteration, which was not played as the last one then, if all
        commits are gone, or if they are of another configuration.
    """
    if run.config_file.exists():
        check_commits(run.path, run.config())
    checkpoint = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
    if checkpoint and checkpoint.state.identity != config.identity_hash():
        raise UsageError(f"{run.path}: checkpoint {checkpoint.path.name} is of another configuration than is asked for")
    if checkpoint is None or checkpoint.iteration < config.iterations:
        return None
    if (planned := checkpoint.state.iterations) != config.iterations:
        expected = checkpoint.iteration + (checkpoint.iteration < planned)
        progress = f"iteration {checkpoint.iteration} of {planned} is committed in {run.path}"
        raise UsageError(f"--iterations: found {config.iterations}, expected at least {expected}: {progress}")
    return checkpoint


def finish(run: RunDirectory, config: RunConfig, checkpoint: Checkpoint) -> None:
    """Writes what follows from the last commit, where it is not there or not as it was: metrics, scores, curves."""
    leave_mark(run)
    files = {run.metrics_file: checkpoint.read(METRICS_FILE), run.scores_file: scores_bytes(config, checkpoint)}
    differing = [path for path, content in files.items() if not _holds(path, content)]
    for path in differing:
        write_durably(path, files[path])
    if differing or not run.curves_file.exists():
        from pipeline import media  # matplotlib, which a finished run needs no more

        run.media.mkdir(exist_ok=True)
        records = records_of(files[run.metrics_file])
        media.save_curves(run.curves_file, records, list(config.trainings))


def _holds(path: Path, content: bytes) -> bool:
    try:
        return read_file(path) == content
    except OSError:  # there is none, or something else: it is replaced
        return False


def scores_bytes(config: RunConfig, checkpoint: Checkpoint) -> bytes:
    """What scores.json holds, of the last commit."""
    state = checkpoint.state
    episodes = [
        Episode(seed=config.seed, index=index, score=score, length=length)
        for index, (score, length) in enumerate(state.evaluation)
    ]
    learnt = {"steps": state.steps, "iterations": state.iteration}
    acting = config.algorithm.acting
    protocol = protocol_of(config.env, config.evaluation, **learnt, episodes=len(episodes), acting=acting)
    return Evaluation.of(config, checkpoint, protocol, episodes).to_bytes()


def describe_result(run: RunDirectory, modules: Sequence[str] = ()) -> str:
    """Score, where the newest picture of each kind is, and what to try next; `modules` were allowed for it."""
    newest_last = sorted(run.media.iterdir(), key=lambda path: (path.stem, path.suffix == ".gif"))
    pictures = {path.stem.rpartition("-")[0] or path.stem: path for path in newest_last}
    allowed = ["--allow-module", *modules] if modules else []
    lines = [
        read(run.scores_file).summary,
        *(f"  {kind:<32}{_relative(path)}" for kind, path in pictures.items()),
        f"  {'all metrics':<32}tensorboard --logdir {_relative(run.path)}",
        f"  {'watch it, play in its dream':<32}{' '.join(['python -m pipeline.play', _relative(run.path), *allowed])}",
        f"  {'check every stored byte':<32}{' '.join(['python -m pipeline.verify', _relative(run.path), *allowed])}",
    ]
    return "\n".join(lines)


def _relative(path: Path) -> str:
    try:
        relative = os.path.relpath(path)
    except FileNotFoundError:  # a Ray job's working directory may go before the job does
        return str(path)
    return str(path) if relative.startswith("..") else relative
