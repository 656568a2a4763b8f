"""All numbers of a report, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation import in_words
from pipeline.scores.aggregates import (
    AGGREGATES,
    Estimate,
    Reference,
    Runs,
    Statistic,
    estimate,
    human_normalised,
    interquartile_mean,
    mean,
    median,
    performance_profile,
    probability_of_improvement,
    superhuman,
)
from pipeline.scores.crafter import crafter_score
from pipeline.scores.curves import Curve, Points, learning_curve, sample_efficiency
from pipeline.scores.published import PROTOCOL, Published
from pipeline.scores.run_scores import NOT_STATED, ComparedAlgorithm

ENOUGH_RUNS = 10
"""Of a game; with fewer an interval covers less than it says."""
MOST_COMPARED = 12
"""Algorithms that are compared pair by pair and game by game: of more, a figure is no picture any more."""
THRESHOLDS = np.linspace(0.0, 8.0, 401)
"""Of performance profiles, in human-normalised score."""
OF_MEANS = {"mean": mean, "median": median}
"""The aggregates that follow from one number a game, the mean over its runs."""


@dataclass(frozen=True, eq=False)
class Entry:
    """An algorithm in a report."""

    name: str
    protocol: str
    scores: Runs
    """In the games' own units."""
    normalised: Runs
    """By a human's; of the games in the aggregates alone."""
    aggregates: Mapping[str, Estimate]
    """Empty where none of its games is in the published table."""


class Crafter(NamedTuple):
    """How the training episodes of an algorithm's runs went."""

    rates: Mapping[str, float]
    """Achievement -> per cent of episodes, mean over runs."""
    score: Estimate


@dataclass(frozen=True)
class Comparison:
    references: Mapping[str, Reference]
    entries: Sequence[Entry]
    """Of runs, ours and others'."""
    published: Sequence[Entry]
    """One number a game each; none where no game of the entries is among theirs."""
    profiles: Mapping[str, Estimate]
    """Of every algorithm, at THRESHOLDS."""
    is_crowded: bool
    """Whether there are too many to compare them pair by pair and game by game."""
    improvement: Mapping[tuple[str, str], tuple[Estimate, int]]
    """Of the first over the second, and in how many games."""
    learning: Mapping[str, Mapping[str, Curve]]
    """Game -> algorithm -> scores in the game's own units."""
    efficiency: Mapping[str, Curve]
    """Algorithm -> interquartile mean of human-normalised scores."""
    crafter: Mapping[str, Crafter]
    points_protocols: Mapping[str, str]
    """How the points of an algorithm's curves were evaluated."""
    machines: Sequence[str]
    """What our runs were trained with, in words."""
    notes: Sequence[str]
    """What a reader should know before believing anything."""

    @property
    def all_entries(self) -> list[Entry]:
        return [*self.entries, *self.published]

    def to_json(self) -> dict[str, Any]:
        """Everything a figure shows."""
        return {
            "algorithms": {each.name: _entry_json(each) for each in self.entries},
            "published": {each.name: _entry_json(each) for each in self.published},
            "performance profiles": {
                "thresholds": THRESHOLDS.round(6).tolist(),
                "algorithms": {name: _json(found) for name, found in self.profiles.items()},
            },
            "probability of improvement": [
                {"of": of, "over": over, **_json(interval), "games": games}
                for (of, over), (interval, games) in self.improvement.items()
            ],
            "learning curves": {
                game: {name: _curve_json(curve) for name, curve in curves.items()}
                for game, curves in self.learning.items()
            },
            "sample efficiency": {name: _curve_json(curve) for name, curve in self.efficiency.items()},
            "crafter": {
                name: {"score": _json(each.score), "success rates": each.rates} for name, each in self.crafter.items()
            },
            "protocols of curves": dict(self.points_protocols),
            "machines": list(self.machines),
            "notes": list(self.notes),
        }


def compare(
    algorithms: Sequence[ComparedAlgorithm],
    published: Published,
    notes: Sequence[str] = (),
    *,
    common_games: bool = False,
) -> Comparison:
    """Computes everything a report shows.

    Args:
        notes: to begin with.
        common_games: aggregates, of published algorithms too, are over the games alone that all algorithms have played
            which have played any of the table; otherwise each is over all of its own.

    Raises: UsageError if there is no such game.
    """
    played = {each.name: [game for game in published.references if game in each.runs] for each in algorithms}
    common = [game for game in published.references if all(game in games for games in played.values() if games)]
    if common_games:
        if not common or not any(played.values()):
            raise UsageError("--common-games: found no game that all algorithms have played, expected at least one")
        played = {name: common if games else [] for name, games in played.items()}
    entries = [_entry(each.name, each.protocol, each.runs, played[each.name], published) for each in algorithms]
    rated = [each for each in entries if each.normalised]
    games = common if common_games else list(published.references)
    known = [
        _entry(name, PROTOCOL, {game: np.array([score]) for game, score in scores.items()}, games, published, OF_MEANS)
        for name, scores in published.scores.items()
        if rated
    ]
    is_crowded = len(rated) > MOST_COMPARED
    notes = [*notes, *(note for each in algorithms for note in _warnings(each, published))]
    if is_crowded:
        words = f"found {len(rated)} algorithms, expected at most {MOST_COMPARED}"
        notes.append(f"neither probabilities of improvement nor a figure of games: {words}")
    if len({tuple(each.normalised) for each in (*rated, *known)}) > 1:
        notes.append("aggregates are over different games: --common-games compares on those that all have played")
    if len({each.protocol for each in rated}) > 1:
        notes.append("algorithms are evaluated under different protocols")
    return Comparison(
        references=published.references,
        entries=entries,
        published=known,
        profiles={each.name: performance_profile(each.normalised, THRESHOLDS) for each in rated},
        is_crowded=is_crowded,
        improvement={
            (one.name, two.name): (probability_of_improvement(one.normalised, two.normalised), len(common))
            for one, two in combinations(() if is_crowded else rated, 2)
            if (common := one.normalised.keys() & two.normalised.keys())
        },
        learning=_learning_curves(algorithms),
        efficiency=dict(_sample_efficiency(algorithms, played, published)),
        crafter=dict(_crafter(algorithms)),
        points_protocols={each.name: each.points_protocol for each in algorithms if each.points_protocol},
        machines=sorted(
            {in_words({**each.machine}) for algorithm in algorithms for each in algorithm.results if each.machine}
        ),
        notes=notes,
    )


def _entry(
    name: str,
    protocol: str,
    scores: Runs,
    games: Sequence[str],
    published: Published,
    statistics: Mapping[str, Statistic] = AGGREGATES,
) -> Entry:
    normalised = {game: human_normalised(scores[game], published.references[game]) for game in games}
    found = {key: estimate(normalised, statistic) for key, statistic in statistics.items()} if normalised else {}
    return Entry(name, protocol, scores, normalised, found)


def _warnings(algorithm: ComparedAlgorithm, published: Published) -> Iterator[str]:
    name, runs = algorithm.name, algorithm.runs
    known = {game: scores for game, scores in runs.items() if game in published.references}
    if algorithm.protocol == NOT_STATED:
        yield f"{name}: its protocol is not stated"
    if deviations := algorithm.results[0].deviations:
        yield f"{name}: not evaluated as published: {', '.join(deviations)}"
    if other := sorted(runs.keys() - known.keys()):
        yield f"{name}: not in the aggregates, nor in the published table: {', '.join(other)}"
    missing = [game for game in published.references if game not in known]
    if known and missing:
        yield f"{name}: {len(missing)} of {len(published.references)} games missing: {', '.join(missing)}"
    if (fewest := min(map(len, runs.values()))) < ENOUGH_RUNS:
        words = "too few for intervals one can rely on: they are too narrow" if fewest > 1 else "no intervals"
        yield f"{name}: runs a game: {runs_a_game(runs)}, {words}"
    for game in runs:
        if floors := [each.floors for each in algorithm.results if each.game == game and each.floors]:
            means = {name: float(np.mean([each.get(name, np.nan) for each in floors])) for name in floors[0]}
            words = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
            yield f"{name}, {game}: in the same episodes who looks at nothing scores: {words}"
    if algorithm.points_protocol is None and any(each.points for each in algorithm.results):
        yield f"{name}: no learning curves, its runs were evaluated in different ways while they learnt"
    if 0 < (silent := sum(not each.success_rates for each in algorithm.results)) < len(algorithm.results):
        yield f"{name}: not in its rates of achievements, no episode of training ended: {silent} runs"


def runs_a_game(runs: Runs) -> str:
    """`5`, or `3 to 5`."""
    counts = sorted(map(len, runs.values()))
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def _learning_curves(algorithms: Sequence[ComparedAlgorithm]) -> dict[str, dict[str, Curve]]:
    found: dict[str, dict[str, Curve]] = {}
    for algorithm in algorithms:
        for game, points in _points(algorithm).items():
            if len((curve := learning_curve(points)).steps) > 1:
                found.setdefault(game, {})[algorithm.name] = curve
    return found


def _sample_efficiency(
    algorithms: Sequence[ComparedAlgorithm], played: Mapping[str, Sequence[str]], published: Published
) -> Iterator[tuple[str, Curve]]:
    for algorithm in algorithms:
        points, games = _points(algorithm), played[algorithm.name]
        if games and points.keys() >= set(games):
            curve = sample_efficiency({game: points[game] for game in games}, published.references, interquartile_mean)
            if len(curve.steps) > 1:
                yield algorithm.name, curve


def _points(algorithm: ComparedAlgorithm) -> dict[str, list[Points]]:
    """Game -> those of every run, where all have some; none if they must not be averaged."""
    games = algorithm.runs if algorithm.points_protocol else ()
    found = {game: [each.points for each in algorithm.results if each.game == game] for game in games}
    return {game: points for game, points in found.items() if all(points)}


def _crafter(algorithms: Sequence[ComparedAlgorithm]) -> Iterator[tuple[str, Crafter]]:
    for algorithm in algorithms:
        if runs := [each.success_rates for each in algorithm.results if each.success_rates]:
            score = estimate({"crafter": np.array([crafter_score(rates) for rates in runs])}, mean)
            names = dict.fromkeys(name for rates in runs for name in rates)
            rates = {name: float(np.mean([rates.get(name, 0.0) for rates in runs])) for name in names}
            yield algorithm.name, Crafter(rates, score)


def _entry_json(entry: Entry) -> dict[str, Any]:
    at_least, above = superhuman(entry.normalised.values())
    return {
        "protocol": entry.protocol,
        "scores": {game: scores.tolist() for game, scores in entry.scores.items()},
        "human-normalised": {game: scores.tolist() for game, scores in entry.normalised.items()},
        "games in the aggregates": len(entry.normalised),
        **{name: _json(each) for name, each in entry.aggregates.items()},
        **({"superhuman": at_least, "strictly superhuman": above} if entry.normalised else {}),
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    return {"steps": curve.steps, **_json(curve.band)}


def _json(found: Estimate) -> dict[str, Any]:
    values = zip(("value", "low", "high"), (found.value, *(found.interval or ())), strict=False)
    return {name: np.asarray(each).tolist() for name, each in values}
