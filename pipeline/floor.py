"""The floor under every agent: what playing without looking scores, under the protocol by which agents are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Literal

from actors.blind import BlindConfig, leaning, standing_still, uniform
from actors.config import EvaluationProtocol
from cluster.config import ClusterConfig
from learners.action_space import ActionSpace, Box, num_actions_of
from learners.algorithm import AgentConfig
from learners.streams import Streams
from pipeline.config import RunConfig
from pipeline.evaluation import Evaluation, protocol_of
from pipeline.players import Plan, open_players
from pipeline.train import game_of

CHOOSING_EPISODES = 8
"""Of each action and seed, by which leaning play chooses its action."""


def play_floor(
    config: RunConfig,
    agent: Literal["random", "leaning"],
    *,
    seeds: Sequence[int] = (),
    episodes: int = 0,
    evaluators: int = 0,
    in_process: bool = False,
) -> Evaluation:
    """Scores uniform play, or play that takes one action half of the time and a uniformly random one otherwise.

    That action is the one whose play has the best mean over `CHOOSING_EPISODES` of each seed, which are other episodes
    than those that are scored; of equal ones the first. Exploration and temperature of the evaluation are not applied.

    Args:
        seeds: of the games and of what is drawn; none: the run's own.
        episodes: of each seed; 0: as many as after the last iteration.
        evaluators: processes; 0: as many as there are CPUs. Changes no result.

    Raises: UsageError if there is no such game; ClusterError; RunFailedError.
    """
    game = game_of(config)
    space = game.action_space
    num_actions = num_actions_of(space, "--agent leaning") if agent == "leaning" else 0
    evaluation = config.evaluation.model_copy(update={"epsilon": 0.0, "temperature": 1.0})
    plan = Plan(config.env, evaluation, seeds or (config.seed,), episodes or evaluation.final_episodes)
    others = [Streams(seed).key("choosing") for seed in plan.seeds]
    choosing = replace(plan, seeds=others, episodes=CHOOSING_EPISODES)
    candidates = [leaning(num_actions, action) for action in range(num_actions)]
    weights, played = uniform(space), EvaluationProtocol(agent=agent)
    most = max(len(plan.batches), len(choosing.batches) * len(candidates))
    how = {"most": most, "evaluators": evaluators, "device": "cpu", "in_process": in_process}
    with open_players(AgentConfig(BlindConfig(), space), plan, config.cluster, iteration=0, **how) as players:
        if candidates:
            found = players.play(choosing, candidates)
            means = [fmean(episode.score for episode in episodes) for episodes in found]
            best = means.index(max(means))
            weights = candidates[best]
            played["half of all actions"] = game.action_names[best]
            played["chosen by episodes of each action"] = len(found[best])
        (scored,) = players.play(plan, [weights])
    protocol = protocol_of(plan.env, evaluation, steps=0, iterations=0, episodes=plan.episodes, seeds=len(plan.seeds))
    return Evaluation.of(config, None, {**played, **protocol}, scored)


def play_blind(
    space: ActionSpace, plan: Plan, cluster: ClusterConfig, *, iteration: int, evaluators: int, in_process: bool
) -> dict[str, float]:
    """Mean scores, in the very episodes of a plan after an iteration: uniform play, and in a box standing still.

    Raises: ClusterError; RunFailedError.
    """
    blind = {"random": uniform(space)} | ({"standing still": standing_still()} if isinstance(space, Box) else {})
    plan = replace(plan, evaluation=plan.evaluation.model_copy(update={"epsilon": 0.0, "temperature": 1.0}))
    how = {"most": len(plan.batches) * len(blind), "evaluators": evaluators, "device": "cpu", "in_process": in_process}
    with open_players(AgentConfig(BlindConfig(), space), plan, cluster, iteration=iteration, **how) as players:
        found = players.play(plan, list(blind.values()))
    return {name: fmean(each.score for each in played) for name, played in zip(blind, found, strict=True)}
