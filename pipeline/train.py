"""`python -m pipeline.train PRESET [--dotted.flag value …]`: starts a run, or resumes it.

The same command again goes on after the last commit; a finished run prints its result.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.process import num_cores
from cluster.this_process import TORCH_IS_LOADED, prepare
from pipeline.cli import Launch, command, parse
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.placement import layout_of
from pipeline.run_dir import RunDirectory, default_run_dir

if TYPE_CHECKING:
    from actors.envs.environment import Environment
    from cluster.gauges import Gauges
    from learners.algorithm import AgentConfig


def main(argv: Sequence[str] | None = None) -> int:
    return train(parse(sys.argv[1:] if argv is None else argv, "python -m pipeline.train"))


def train(launch: Launch) -> int:
    """Runs until the last iteration or a stop signal; the exit code."""
    config = launch.config
    if launch.in_process:
        _prepare_this_process(config)
    # What follows loads torch, ray and the games, which a mistyped flag and --help should not wait for.
    from pipeline import finish

    if config.iterations == 0:
        print(finish.describe_networks(agent_config(config)))
        return 0
    run = RunDirectory.claim(launch.run_dir or default_run_dir(config), config)
    try:
        if checkpoint := finish.last_commit(run, config):
            finish.finish(run, config, checkpoint)
        else:
            check(config)
            agent = agent_config(config)
            if code := _train(launch, run, agent):
                return code
        print(finish.describe_result(run, launch.allow_module))
        return 0
    finally:
        run.close()


def agent_config(config: RunConfig) -> AgentConfig:
    """The agent for the environment of `config`. Raises UsageError if there is no such environment."""
    from learners.algorithm import AgentConfig

    return AgentConfig(config.algorithm, game_of(config).action_space)


def game_of(config: RunConfig) -> Environment:
    """The environment of `config`, to ask it what it is. Raises UsageError if there is no such environment."""
    try:
        return config.env.build(seed=0)
    except ValueError as error:
        raise UsageError(f"--env: {error}") from error


def check(config: RunConfig) -> None:
    """Raises UsageError if a file that the algorithm needs is not there, or the environment breaks a promise."""
    from actors.envs.check import check_environment

    try:
        config.algorithm.check_files(config.iterations)
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        check_environment(config.env)
    except ValueError as error:
        raise UsageError(f"--env: {error}") from error


def _train(launch: Launch, run: RunDirectory, agent: AgentConfig) -> int:
    from cluster.open import open_processes
    from pipeline.checkpoint import Checkpoints
    from pipeline.commit_mark import forget_what_was_not_committed
    from pipeline.driver import Driver
    from pipeline.needs import needs_of
    from pipeline.progress import Reporter
    from pipeline.stop import Stopped, StopSignals
    from pipeline.workers import start_workers

    config = launch.config
    reporter = Reporter(config.iterations)
    reporter.line(f"run directory {run.path}")
    checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
    how = {"in_process": launch.in_process, "allow_open": launch.allow_open_cluster, "directory": run.path}
    try:
        needs = needs_of(config, agent, checkpoints.iterations())
        reporter.line(f"needs {needs}")
        needs.check_disk(run.path)
        with StopSignals() as stop, open_processes(config.cluster, **how, uninterrupted=stop.deferred) as processes:
            layout = layout_of(config, nodes := processes.nodes())
            dataset = config.dataset
            if layout.device == "cpu":  # how much a GPU has, only its own process learns
                dataset = dataset.model_copy(update={"frames": needs.place_frames(dataset.frames, nodes)})
            processes.reserve(layout.bundles, layout.labels)
            forget_what_was_not_committed(run, config)
            for change in run.begin(config):
                reporter.line(f"changed since the last start: {change}")
            workers = start_workers(
                config, run.store(config), agent, layout, processes, dataset=dataset, planned_bytes=max(needs.memory)
            )
            Driver(
                config, run, workers, reporter, stop, accept_loss=launch.accept_loss, gauges=_gauges(launch, run)
            ).run()
    except Stopped as stopped:
        last = max(checkpoints.iterations(), default=0)
        reporter.line(f"stopped by {stopped}: iteration {last} is the last commit; the same command resumes there")
        return stopped.exit_code
    finally:
        reporter.close()
    return 0


def _gauges(launch: Launch, run: RunDirectory) -> Gauges | None:
    """What tells Prometheus, through Ray."""
    if launch.in_process:
        return None
    from cluster.gauges import Gauges

    return Gauges(run.path.name)


def _prepare_this_process(config: RunConfig) -> None:
    """Before torch is loaded. Raises UsageError if the run needs several processes."""
    if (ranks := config.cluster.data_parallel) > 1:
        raise UsageError(f"--in-process: found cluster.data_parallel {ranks}, expected 1: ranks are processes")
    has_gpu = config.cluster.device == "cuda"  # whether there is one, torch says later
    if not prepare(layout_of(config, [{"CPU": num_cores(), "GPU": has_gpu}]).threads):
        print(TORCH_IS_LOADED)


if __name__ == "__main__":
    command(main)
