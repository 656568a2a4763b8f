"""Aggregates over games and runs, and how sure one can be of them.

Everything works on human-normalised scores, (score − random) / (human − random), and on many resamples at once: a game
is an array (R, n), R resamples of its n runs.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Runs = Mapping[str, Floats]
"""Game -> one score for each run, (n,)."""
Statistic = Callable[[Sequence[Floats]], Floats]
"""Of games, each (R, n) -> (R,)."""
RESAMPLES = 2_000
CONFIDENCE = 0.95
METHOD = f"{100 * CONFIDENCE:.0f} % stratified bootstrap intervals over runs, {RESAMPLES:,} resamples"
"""In words; not where some game has one run only."""
TRIMMED = 0.25
"""At either end, by the interquartile mean."""


class Reference(NamedTuple):
    """What a game's scores are measured by."""

    random: float
    human: float


class Estimate(NamedTuple):
    """A value, and how sure it is; or several values, each (T,)."""

    value: Floats
    interval: tuple[Floats, Floats] | None
    """None where some game has one run only, from which nothing follows about others."""


def human_normalised(scores: ArrayLike, reference: Reference) -> Floats:
    """(score − random) / (human − random): 0 is random play, 1 a human's."""
    return (np.asarray(scores, dtype=np.float64) - reference.random) / (reference.human - reference.random)


def mean(games: Sequence[Floats]) -> Floats:
    """Over games, of the mean over runs."""
    return _by_game(games).mean(axis=0)


def median(games: Sequence[Floats]) -> Floats:
    """Over games, of the mean over runs."""
    return np.median(_by_game(games), axis=0)


def interquartile_mean(games: Sequence[Floats]) -> Floats:
    """Mean of the middle half of all runs × games; of N of them, ⌊N / 4⌋ are cut off at either end."""
    pooled = np.sort(np.concatenate(games, axis=1), axis=1)  # (R, N)
    cut = int(TRIMMED * pooled.shape[1])
    return pooled[:, cut : pooled.shape[1] - cut].mean(axis=1)


def optimality_gap(games: Sequence[Floats]) -> Floats:
    """By how much runs × games fall short of a human on average: 1 − mean of min(score, 1)."""
    return 1.0 - np.minimum(np.concatenate(games, axis=1), 1.0).mean(axis=1)


def superhuman(games: Iterable[Floats]) -> tuple[int, int]:
    """In how many games the mean over runs is at least a human's; in how many it is more."""
    means = [float(scores.mean()) for scores in games]
    return sum(each >= 1.0 for each in means), sum(each > 1.0 for each in means)


AGGREGATES: Mapping[str, Statistic] = {
    "interquartile mean": interquartile_mean,
    "median": median,
    "mean": mean,
    "optimality gap": optimality_gap,
}
LESS_IS_BETTER = "optimality gap"


def estimate(runs: Runs, statistic: Statistic, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """A statistic and its stratified bootstrap interval: the runs of every game are drawn anew, with replacement.

    The interval lies between percentiles of the resamples. Of few runs a game it is too narrow.
    """
    return _estimate(statistic, runs, resamples=resamples, seed=seed)


def resampled(runs: Runs, resamples: int, rng: np.random.Generator) -> list[Floats]:
    """Every game as (R, n)."""
    return [scores[rng.integers(len(scores), size=(resamples, len(scores)))] for scores in runs.values()]


def performance_profile(runs: Runs, thresholds: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Share of runs × games above each threshold τ (T,), which ascend, and a pointwise interval."""

    def above(games: Sequence[Floats]) -> Floats:
        pooled = np.concatenate(games, axis=1)  # (R, N)
        exceeded = np.searchsorted(thresholds, pooled)  # (R, N): how many thresholds each score is above
        bins = exceeded + (1 + len(thresholds)) * np.arange(len(pooled))[:, None]
        counts = np.bincount(bins.ravel(), minlength=len(pooled) * (1 + len(thresholds))).reshape(len(pooled), -1)
        return counts[:, :0:-1].cumsum(axis=1)[:, ::-1] / pooled.shape[1]  # (R, T)

    return _estimate(above, runs, resamples=resamples, seed=seed)


def probability_of_improvement(ours: Runs, theirs: Runs, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """That a run of ours beats one of theirs in a game that both played, mean over those games; a tie is half a win.

    Raises: ValueError if they have no game in common.
    """
    common = [game for game in ours if game in theirs]
    if not common:
        raise ValueError("found no game that both played, expected at least one")

    def better(first: Sequence[Floats], second: Sequence[Floats]) -> Floats:
        games = [np.sign(x[:, :, None] - y[:, None, :]).mean(axis=(1, 2)) for x, y in zip(first, second, strict=True)]
        return (np.mean(games, axis=0) + 1.0) / 2.0

    first, second = ({game: runs[game] for game in common} for runs in (ours, theirs))
    return _estimate(better, first, second, resamples=resamples, seed=seed)


def _estimate(statistic: Callable[..., Floats], *groups: Runs, resamples: int, seed: int) -> Estimate:
    """A statistic (R, …) of groups of runs: of the runs themselves, and between which values CONFIDENCE of it lies when
    the runs of every game are drawn anew."""
    value = statistic(*([scores[None] for scores in runs.values()] for runs in groups))[0]
    if any(len(scores) == 1 for runs in groups for scores in runs.values()):
        return Estimate(value, None)
    rng = np.random.default_rng(seed)
    values = statistic(*[resampled(runs, resamples, rng) for runs in groups])
    outside = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(values, [outside, 100.0 - outside], axis=0)
    return Estimate(value, (low, high))


def _by_game(games: Sequence[Floats]) -> Floats:
    """Means over runs, (G, R)."""
    return np.stack([game.mean(axis=1) for game in games])
