"""Scores while agents learn: from the evaluations along runs to curves with bands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.scores.aggregates import Estimate, Reference, Statistic, estimate, human_normalised, mean

Points = Mapping[int, float]
"""Environment steps -> mean score of the evaluation after them."""


class Curve(NamedTuple):
    """Values after so many steps (T,)."""

    steps: Sequence[int]
    band: Estimate


def evaluations(records: Iterable[Mapping[str, Any]]) -> Points:
    """Those in the lines of a metrics.jsonl; of several after the same number of steps the last one counts."""
    return {each["steps"]: each[name] for each in records if (name := "evaluation/score_mean") in each}


def learning_curve(runs: Sequence[Points]) -> Curve:
    """Mean score of one game's runs, at the steps after which all of them were evaluated."""
    return _curve({"": runs}, mean)


def sample_efficiency(
    games: Mapping[str, Sequence[Points]], references: Mapping[str, Reference], statistic: Statistic
) -> Curve:
    """A statistic of human-normalised scores over games and runs, at the steps after which all were evaluated.

    Source: Agarwal et al. 2021, "sample efficiency curves".
    """
    normalised = {
        game: [dict(zip(run, human_normalised(list(run.values()), references[game]), strict=True)) for run in runs]
        for game, runs in games.items()
    }
    return _curve(normalised, statistic)


def _curve(games: Mapping[str, Sequence[Points]], statistic: Statistic) -> Curve:
    steps = sorted(set.intersection(*(set(run) for runs in games.values() for run in runs)))
    at = [{game: np.array([run[step] for run in runs]) for game, runs in games.items()} for step in steps]
    found = [estimate(each, statistic) for each in at]
    intervals = [each.interval for each in found if each.interval]  # after all steps or none: the runs are the same
    low, high = np.array(intervals).reshape(-1, 2).T
    return Curve(steps, Estimate(np.array([each.value for each in found]), (low, high) if intervals else None))
