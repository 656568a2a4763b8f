"""`python -m pipeline.evaluate RUN_DIR`: plays whole episodes with the agent of a run's last commit.

Under the published protocol of its algorithm; in a game with goals also without looking, as a floor. `--agent random
PRESET` and `--agent leaning PRESET` play without an agent. On a CPU the same seed gives the same scores, whoever plays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import NonNegativeInt

from actors.config import GymConfig
from cluster.this_process import TORCH_IS_LOADED, prepare
from learners import catalogue
from pipeline.checkpoint import Checkpoints
from pipeline.cli import Positional, Tool, command, parse_arguments, parse_preset
from pipeline.commit_mark import check_commits
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.players import Plan, open_players
from pipeline.presets import published_like
from pipeline.run_dir import RunDirectory

PROGRAM = "python -m pipeline.evaluate"
Floor = Literal["random", "leaning"]


class Playing(Tool):
    """Base of the arguments of what plays whole episodes."""

    episodes: NonNegativeInt = 0
    """Of each seed; 0: as many as the protocol plays after the last iteration."""
    seeds: tuple[NonNegativeInt, ...] = ()
    """Of the games and of what the agent draws; none: the run's own, as in its scores.json."""
    evaluators: NonNegativeInt = 0
    """Processes, of one CPU each, at most one for as many episodes as are played side by side; 0: as many as there are
    CPUs. Changes no result."""
    in_process: bool = False
    """Play in this process, without Ray: one batch after another, the same scores."""
    out: Path | None = None
    """File to write; default: of a run evaluation.json in its directory, which `python -m pipeline.report` reads; of a
    preset none."""


class Arguments(Playing):
    """Plays whole episodes with the agent of a run's last commit, and writes down what each of them scored.

    With --agent random PRESET or --agent leaning PRESET it plays without one, as the preset's evaluation does.
    """

    run_dir: Annotated[Path, Positional()]
    """What `python -m pipeline.train` wrote."""
    agent: Literal["trained", "random", "leaning"] = "trained"
    """The floors under a trained one take a preset, with its flags, in place of a run: random plays uniformly; leaning
    takes half of the time the action that so was best in a few other episodes. --agent random --help lists presets."""
    protocol: Literal["published", "run"] = "published"
    """The published one of the run's algorithm and kind of game, where there is one; or what the run itself was
    configured to."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of the networks; auto is cuda where the cluster has a GPU."""


class FloorArguments(Playing):
    """Plays a preset's game without an agent that has learnt."""

    config: RunConfig
    agent: Floor = "random"
    """random plays uniformly; leaning takes half of the time the action that so was best in a few other episodes, and
    a uniformly random one otherwise. Exploration and temperature of the evaluation are not applied."""


def main(argv: Sequence[str] | None = None) -> int:
    agent, line = _split(sys.argv[1:] if argv is None else argv)
    if (named := agent[-1].removeprefix("--agent=") if agent else "") in get_args(Floor):
        preset_first = line and [*line, *agent]
        return evaluate_floor(parse_preset(FloorArguments, preset_first, f"{PROGRAM} --agent {named}"))
    arguments = parse_arguments(Arguments, [*agent, *line], PROGRAM)
    if str(arguments.run_dir) in catalogue.PRESETS and not arguments.run_dir.exists():
        words = f"found the preset {arguments.run_dir}, expected the directory of a run, or --agent random or leaning"
        raise UsageError(f"RUN_DIR: {words}")
    run = RunDirectory.open(arguments.run_dir)
    try:
        return evaluate(run, arguments)
    finally:
        run.close()


def _split(line: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flag that decides what the others are, with its value, and all else."""
    agent, others = [], []
    for each in line:
        belongs = each.partition("=")[0] == "--agent" or agent[-1:] == ["--agent"]
        (agent if belongs else others).append(each)
    return agent, others


def evaluate_floor(arguments: FloorArguments) -> int:
    """Plays, prints, and writes a file if one is named."""
    config, out = arguments.config, arguments.out
    _check_seeds(arguments.seeds)
    if out and not _can_be_written(out):
        raise UsageError(f"--out: found no file {out} that can be written, expected one")
    # What follows loads torch, ray and the games, which a mistyped flag and --help should not wait for.
    from learners.durable import write_durably
    from pipeline.evaluation import in_words
    from pipeline.floor import play_floor

    how = arguments.model_dump(include={"seeds", "episodes", "evaluators", "in_process"})
    evaluation = play_floor(config, arguments.agent, **how)
    print(in_words(evaluation.protocol))
    print(f"{evaluation.summary}, standard error {evaluation.standard_error:.2f}", end="")
    if out:
        write_durably(out, evaluation.to_bytes())
    print(f"; each of them: {out}" if out else "")
    return 0


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
    from actors.envs.environment import HasGoal
    from learners.durable import write_durably
    from learners.learner import acting_weights
    from pipeline.evaluation import Evaluation, in_words, protocol_of
    from pipeline.floor import play_blind
    from pipeline.train import agent_config, game_of

    agent = agent_config(config)
    try:
        weights = acting_weights(agent, str(checkpoint.path))
    except ValueError as error:
        raise UsageError(f"{checkpoint.path}: {error}") from error
    how = arguments.model_dump(include={"evaluators", "device", "in_process"})
    most, iteration = len(plan.batches), checkpoint.iteration
    with open_players(agent, plan, config.cluster, iteration=iteration, most=most, **how) as players:
        (episodes,) = players.play(plan, [weights])
    floors: dict[str, float] = {}
    if isinstance(game_of(config), HasGoal):
        blind = arguments.model_dump(include={"evaluators", "in_process"})
        floors = play_blind(agent.action_space, plan, config.cluster, iteration=iteration, **blind)
    learnt = {"steps": checkpoint.state.steps, "iterations": checkpoint.iteration}
    amounts = {**learnt, "episodes": plan.episodes, "seeds": len(plan.seeds)}
    protocol = protocol_of(plan.env, plan.evaluation, **amounts, acting=config.algorithm.acting)
    evaluation = Evaluation.of(config, checkpoint, protocol, episodes, floors)
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
    _check_seeds(seeds)
    return Plan(env, evaluation, seeds, arguments.episodes or evaluation.final_episodes)


def _check_seeds(seeds: Sequence[int]) -> None:
    if repeated := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise UsageError(f"--seeds: found {repeated[0]} twice, expected different seeds")


if __name__ == "__main__":
    command(main)
