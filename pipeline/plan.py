"""`python -m pipeline.plan RUN_DIR`: an agent that plans plays the same episodes with one planner after another.

It says how often each reaches the goal and how long it thinks, beside who acts at random and who stands still, and
draws the ways that they take. Works without Ray; all that it leaves in the run is plans/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationError

from cluster.this_process import prepare
from learners.planning.config import Blocks, CostConfig, PlannerConfig, PlannerKind, Samples
from pipeline.cli import Positional, Tool, command, in_one_line, parse_arguments
from pipeline.errors import UsageError, first_mistake
from pipeline.out_directory import check_out_directory
from pipeline.run_dir import PLANS

PROGRAM = "python -m pipeline.plan"


class Arguments(Tool):
    """Plays the same episodes with one planner after another, and writes a table, the ways they took and a film.

    A flag with several values makes a row of the table for each of them, and for each combination; without a flag the
    run's own setting counts.
    """

    run_dir: Annotated[Path, Positional()]
    """What `python -m pipeline.train` wrote, with an algorithm that plans."""
    planners: tuple[PlannerKind, ...] = ()
    """How actions are looked for; a reflex looks for none, and is a row of its own."""
    samples: tuple[Samples, ...] = ()
    """Candidates of an iteration; of fewer than four times as many elites as the run's, a quarter are elites."""
    blocks: tuple[Blocks, ...] = ()
    """Actions of a plan."""
    levels: tuple[Literal[1, 2], ...] = ()
    """With two, an upper level sets the goals, where the run has one."""
    objectives: tuple[Literal["sum", "last"], ...] = ()
    """Of the costs of predicted steps: all, or that of the last one alone."""
    costs: tuple[str, ...] = ()
    """Weights of what predicted steps cost, such as `critic=0` or `goal=1,action=0.1`; what is not named stays."""
    outcomes: tuple[Samples, ...] = ()
    """That are drawn for each candidate, where the run's world model knows of several; 1 takes the likeliest."""
    spreads: tuple[NonNegativeFloat, ...] = ()
    """Weights of the standard deviation of their costs beside the mean, where there are several."""
    zones: tuple[float, ...] = ()
    """Where it must not go: x, y and radius of discs in pixels of a frame, one after another. Beside each planner that
    keeps out of them stands what it does without them."""
    margins: tuple[NonNegativeFloat, ...] = (0.0,)
    """Pixels around a zone that cost as if they were inside."""
    episodes: Annotated[int, Field(ge=1, le=1000)] = 20
    """Side by side, the same for each planner."""
    seed: NonNegativeInt = 0
    """Of the episodes and of what planners draw."""
    out: Path | None = None
    """Directory to write; default: plans/ in the run's."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, PROGRAM)
    out = arguments.out or arguments.run_dir / PLANS
    check_out_directory(out)
    prepare(threads=1)  # small networks gain nothing from more
    # What follows loads torch and the games, which a mistyped flag and --help should not wait for.
    from pipeline.comparison import Comparison
    from pipeline.trained import load

    trained = load(arguments.run_dir, arguments.allow_module)
    algorithm = trained.plans
    comparison = Comparison(trained, algorithm, arguments.episodes, arguments.seed)
    ways = _ways(arguments, algorithm.planner, algorithm.cost)
    for planner, cost in ways:
        comparison.check(planner, cost)
    print(comparison.protocol, flush=True)
    comparison.play_floors()
    for planner, cost in ways:
        comparison.play(planner, cost, arguments.zones)
    comparison.save(out)
    print(f"the same as numbers, the ways taken, and a film of the first episode: {out}")
    return 0


def _ways(arguments: Arguments, planner: PlannerConfig, cost: CostConfig) -> list[tuple[PlannerConfig, CostConfig]]:
    """One for each row of the table. Raises UsageError, in one line."""
    kinds = arguments.planners or (planner.kind,)
    all_levels = arguments.levels or (planner.levels,)
    if arguments.costs and set(kinds) == {"reflex"}:
        raise UsageError(
            f"--costs: found {arguments.costs[0]!r}, expected none of a reflex: it does what it was taught"
        )
    reflexes = product([kind for kind in kinds if kind == "reflex"], all_levels)
    ways = [(planner.model_copy(update={"kind": kind, "levels": levels}), cost) for kind, levels in reflexes]
    margins = [None, *arguments.margins] if arguments.zones else [None]  # None: without zones
    for kind, samples, blocks, levels, objective, weighed, (outcomes, spread), margin in product(
        [kind for kind in kinds if kind != "reflex"],
        arguments.samples or [planner.samples],
        arguments.blocks or [planner.blocks],
        all_levels,
        arguments.objectives or [planner.objective],
        [_weighed(cost, words) for words in arguments.costs] or [cost],
        _chances(arguments, planner),
        margins,
    ):
        changed = {
            "kind": kind,
            "samples": samples,
            "elites": min(planner.elites, max(1, samples // 4)) if samples != planner.samples else planner.elites,
            "blocks": blocks,
            "levels": levels,
            "execute": min(planner.execute, blocks),
            "objective": objective,
            "outcomes": outcomes,
            "spread": spread,
        }
        said = {} if margin is None else {"zones": arguments.zones, "zone_margin": margin}
        try:
            ways.append(
                (
                    PlannerConfig.model_validate(planner.model_dump() | changed),
                    CostConfig.model_validate(weighed.model_dump() | said),
                )
            )
        except ValidationError as error:
            raise UsageError(in_one_line(first_mistake(error))) from error
    return ways


def _weighed(cost: CostConfig, words: str) -> CostConfig:
    """By words such as `goal=1,action=0.1`. Raises UsageError, in one line."""
    weights: dict[str, float] = {}
    for said in words.split(","):
        name, _, number = said.partition("=")
        if (name := name.strip()) in weights:
            raise UsageError(f"--costs: found {name[:40]!r} twice in {words[:80]!r}, expected it once")
        try:
            weights[name] = float(number)
        except ValueError:
            raise UsageError(f"--costs: found {said[:40]!r}, expected a term and its weight, as goal=1") from None
    try:
        return cost.with_weights(weights)
    except ValueError as error:
        raise UsageError(f"--costs: {error}") from error


def _chances(arguments: Arguments, planner: PlannerConfig) -> list[tuple[int, float]]:
    """Outcomes, and the weight of their spread; one outcome has none.

    Raises: UsageError, in one line, for a weight where there never are several.
    """
    if any(arguments.spreads) and max(arguments.outcomes or (planner.outcomes,)) == 1:
        spread = max(arguments.spreads)
        raise UsageError(f"--spreads: found {spread:g}, expected --outcomes above 1 beside it: one outcome has none")
    found: list[tuple[int, float]] = []
    for outcomes in arguments.outcomes or (planner.outcomes,):
        found += product([outcomes], arguments.spreads or (planner.spread,)) if outcomes > 1 else [(1, 0.0)]
    return found


if __name__ == "__main__":
    command(main)
