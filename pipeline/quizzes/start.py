"""Starts the processes of a society and lets it run."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

from cluster.open import open_processes
from cluster.process import Placement, Process, Processes, Resources
from learners.quizzes.learner import QuizLearner
from learners.quizzes.rectangles import NoRoomError, check_room
from learners.quizzes.training import make_world
from learners.streams import Streams
from pipeline.errors import UsageError
from pipeline.placement import GPU_UNIT
from pipeline.progress import Reporter
from pipeline.quizzes.config import QuizzesConfig
from pipeline.quizzes.directory import PAGE, SocietyDirectory
from pipeline.quizzes.society import THREADS, Society
from pipeline.stop import Stopped, StopSignals


def start(config: QuizzesConfig, directory: SocietyDirectory, *, in_process: bool, allow_open: bool) -> int:
    """Until the last round or a stop signal; the exit code.

    Raises: UsageError; ClusterError; RunFailedError.
    """
    check_world(config)
    commits = directory.commits(config)
    if not commits.paths() and directory.mark_file.exists():
        raise UsageError(
            f"{directory.path}: found {directory.mark_file.name}, but no commit in checkpoints/; expected its commits:"
            " bring checkpoints/ back, or begin anew in another directory"
        )
    reporter = Reporter(config.rounds)
    reporter.line(f"run directory {directory.path}")
    how = {"in_process": in_process, "allow_open": allow_open, "directory": directory.path}
    try:
        with StopSignals() as stop, open_processes(config.cluster, **how, uninterrupted=stop.deferred) as processes:
            share = shares(config, processes.nodes())
            processes.reserve([share] * config.society.models)
            for change in directory.begin(config):
                reporter.line(f"changed since the last start: {change}")
            device = "cuda" if "GPU" in share else "cpu"
            models = start_models(config, processes, device, share.get("GPU", 0.0))
            Society(config, directory, processes, models, device, reporter, stop).run()
    except Stopped as stopped:
        last = max(commits.iterations(), default=0)
        reporter.line(f"stopped by {stopped}: round {last} is the last commit; the same command resumes there")
        return stopped.exit_code
    finally:
        reporter.close()
    print(f"  what was kept, and how it was made up   {directory.media / PAGE}")
    print(f"  check every stored byte                 python -m pipeline.quizzes verify {directory.path}")
    return 0


def check_world(config: QuizzesConfig) -> None:
    """Raises UsageError, in one line, for a grid on which rectangles, or those of a task, hardly ever have room."""
    world = config.society.world
    try:
        check_room(world.grid)
        make_world(world, 10 * len(world.tasks), Streams(0).numpy("quizzes/check"))
    except NoRoomError as error:
        raise UsageError(f"--society.world.grid: {error}") from error


def shares(config: QuizzesConfig, nodes: Sequence[Resources]) -> dict[str, float]:
    """What each model has: a CPU and a GPU, or a share of them where there are fewer than models; on a CPU no GPU.

    Raises: UsageError if a GPU is asked for and there is none.
    """
    wanted = ("CPU",) if config.cluster.device == "cpu" else ("CPU", "GPU")
    there = {kind: sum(int(node.get(kind, 0)) for node in nodes) for kind in wanted}
    if config.cluster.device == "cuda" and not there["GPU"]:
        raise UsageError("--cluster.device: found cuda and no GPU, expected one, or cpu")
    models = config.society.models
    most = {kind: ceil(models / number) for kind, number in there.items() if number}  # of models on each
    return {kind: floor(1 / each / GPU_UNIT) * GPU_UNIT if each > 1 else 1.0 for kind, each in most.items()}


def start_models(config: QuizzesConfig, processes: Processes, device: str, num_gpus: float) -> list[Process]:
    """A process for each, in a bundle of its own, without waiting for it."""
    return [
        processes.start(
            f"model {number}",
            QuizLearner,
            config.society,
            number,
            seed=config.seed,
            device=device,
            placement=Placement(threads=THREADS, num_gpus=num_gpus, bundle=number),
        )
        for number in range(config.society.models)
    ]
