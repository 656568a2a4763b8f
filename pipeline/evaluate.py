"""`python -m pipeline.evaluate RUN_DIR`: plays whole episodes with the agent of a run's last commit.

Under the published protocol of its algorithm. On a CPU the same seed gives the same scores, whoever plays.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import NonNegativeInt

from actors.config import EnvironmentConfig, EvaluationConfig, GymConfig
from actors.reports import EpisodeScore
from cluster.config import ClusterConfig
from cluster.process import Process
from cluster.this_process import TORCH_IS_LOADED, prepare
from pipeline import schedule
from pipeline.checkpoint import Checkpoints
from pipeline.cli import Positional, Tool, command, parse_arguments
from pipeline.commit_mark import check_commits
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError, UsageError
from pipeline.presets import published_like
from pipeline.run_dir import RunDirectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from learners.algorithm import AgentConfig


class Arguments(Tool):
    """Plays whole episodes with the agent of a run's last commit, and writes down what each of them scored."""

    run_dir: Annotated[Path, Positional()]
    """What `python -m pipeline.train` wrote."""
    episodes: NonNegativeInt = 0
    """Of each seed; 0: as many as the protocol plays after the last iteration."""
    seeds: tuple[NonNegativeInt, ...] = ()
    """Of the games and of what the agent draws; none: the run's own, as in its scores.json."""
    protocol: Literal["published", "run"] = "published"
    """The published one of the run's algorithm and kind of game, where there is one; or what the run itself was
    configured to."""
    evaluators: NonNegativeInt = 0
    """Processes, of one CPU each, at most one for as many episodes as are played side by side; 0: as many as there are
    CPUs. Changes no result."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of the networks; auto is cuda where the cluster has a GPU."""
    in_process: bool = False
    """Play in this process, without Ray: one batch after another, the same scores."""
    out: Path | None = None
    """File to write; default: evaluation.json in the run's directory, which `python -m pipeline.report` reads."""


@dataclass(frozen=True)
class Plan:
    """What is to be played."""

    env: EnvironmentConfig
    evaluation: EvaluationConfig
    seeds: Sequence[int]
    episodes: int
    """Of each seed."""

    @property
    def batches(self) -> list[tuple[int, int, int]]:
        """Seed, index and number of episodes of what is played side by side."""
        size = self.evaluation.envs_per_evaluator
        firsts = range(0, self.episodes, size)
        return [(seed, first // size, min(size, self.episodes - first)) for seed in self.seeds for first in firsts]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, "python -m pipeline.evaluate")
    run = RunDirectory.open(arguments.run_dir)
    try:
        return evaluate(run, arguments)
    finally:
        run.close()


def evaluate(run: RunDirectory, arguments: Arguments) -> int:
    config = run.config()
    check_modules(config, arguments.allow_module)
    check_commits(run.path, config)
    plan = _plan(config, arguments)
    out = arguments.out or run.evaluation_file
    if not _can_be_written(out) or (out != run.evaluation_file and run.path.resolve() in out.resolve().parents):
        raise UsageError(f"--out: found no file {out} that can be written, expected one, outside the run's directory")
    checkpoint = Checkpoints(run.checkpoints, config.checkpoint.keep).newest()
    if checkpoint is None:
        raise UsageError(f"{run.path}: found no commit, expected at least one iteration to evaluate")
    if checkpoint.state.identity != config.identity_hash():
        raise UsageError(f"{run.config_file}: not the configuration of checkpoint {checkpoint.path.name}")
    for reason in checkpoint.passed_over:
        print(f"passed over: {reason}")
    if arguments.in_process and not prepare(threads=1):
        print(TORCH_IS_LOADED)
    # What follows loads torch, ray and the games, which a mistyped flag and --help should not wait for.
    from learners.durable import write_durably
    from learners.learner import acting_weights
    from pipeline.evaluation import Episode, Evaluation, in_words, protocol_of
    from pipeline.train import agent_config

    agent = agent_config(config)
    try:
        weights = acting_weights(agent, str(checkpoint.path))
    except ValueError as error:
        raise UsageError(f"{checkpoint.path}: {error}") from error
    scores = _play(plan, agent, weights, checkpoint.iteration, config.cluster, arguments)
    episodes = [
        Episode(seed=seed, index=each.episode, score=each.score, length=each.length)
        for (seed, _, _), batch in scores.items()
        for each in batch
    ]
    learnt = {"steps": checkpoint.state.steps, "iterations": checkpoint.iteration}
    amounts = {**learnt, "episodes": plan.episodes, "seeds": len(plan.seeds)}
    evaluation = Evaluation.of(config, checkpoint, protocol_of(plan.env, plan.evaluation, **amounts), episodes)
    write_durably(out, evaluation.to_bytes())
    print(in_words(evaluation.protocol))
    print(f"{evaluation.summary}; each of them: {out}")
    return 0


def _can_be_written(out: Path) -> bool:
    is_free = not os.path.lexists(out) or out.is_file()
    return is_free and out.parent.is_dir() and os.access(out.parent, os.W_OK) and len(out.name.encode()) <= 255


def check_modules(config: RunConfig, allowed: Sequence[str]) -> None:
    """Raises UsageError if playing what a run's files describe imports a module that the user has not named."""
    if isinstance(config.env, GymConfig) and (module := config.env.module) and module not in allowed:
        words = f"config.json names the module {module!r}, whose code would run; expected {module} if it may"
        raise UsageError(f"--allow-module: found {' '.join(allowed) or 'none'}, but {words}")


def _plan(config: RunConfig, arguments: Arguments) -> Plan:
    env, evaluation = config.env, config.evaluation
    if arguments.protocol == "published":
        if published := published_like(config):
            limits = published.env.model_dump(include={"evaluation_max_frames"})
            env, evaluation = env.model_copy(update=limits), published.evaluation
        else:
            print(f"no protocol is published for {config.preset} on {config.game}: played as the run itself does")
    seeds = arguments.seeds or (config.seed,)
    if repeated := next((seed for seed in seeds if seeds.count(seed) > 1), None):
        raise UsageError(f"--seeds: found {repeated} twice, expected different seeds")
    return Plan(env, evaluation, seeds, arguments.episodes or evaluation.final_episodes)


def _play(
    plan: Plan,
    agent: AgentConfig,
    weights: NDArray[np.uint8],
    iteration: int,
    cluster: ClusterConfig,
    flags: Arguments,
) -> dict[tuple[int, int, int], list[EpisodeScore]]:
    """Batch -> what its episodes scored, in the order of the plan, whoever plays which."""
    from cluster.errors import LostError
    from cluster.open import open_processes
    from pipeline.progress import Reporter
    from pipeline.workers import start_evaluators

    waiting = deque(plan.batches)
    played: dict[tuple[int, int, int], list[EpisodeScore]] = {}
    reporter, total, losses = Reporter(iteration), plan.episodes * len(plan.seeds), 0

    async def work(evaluator: Process, reference: Any) -> None:
        nonlocal losses
        while waiting:
            seed, index, count = batch = waiting.popleft()
            call = evaluator.call("play", iteration, index, count, reference, seed=seed, num_returns=2)
            try:
                played[batch] = await processes.arrival(call[0], "evaluation episodes", cluster.call_timeout_s)
            except LostError as error:
                waiting.appendleft(batch)
                if (losses := losses + 1) > cluster.max_losses:
                    raise RunFailedError(f"{error}; that was loss {losses}: giving up") from error
                reporter.line(f"{error}; starting the {evaluator.name} again")
                evaluator.replace()
            reporter.phase(iteration, "evaluate", sum(map(len, played.values())), total)

    async def work_all(evaluators: Sequence[Process]) -> None:
        reference = processes.put(weights)
        await asyncio.gather(*(work(evaluator, reference) for evaluator in evaluators))

    try:
        with open_processes(cluster, in_process=flags.in_process) as processes:
            what = (agent, plan.env, plan.evaluation, flags.evaluators, len(waiting))
            schedule.run(work_all(start_evaluators(processes, flags.device, *what)))
    finally:
        reporter.close()
    return {batch: played[batch] for batch in plan.batches}


if __name__ == "__main__":
    command(main)
