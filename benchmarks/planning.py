"""Does a joint-embedding world model plan its way to a goal, what does each of its pieces do, and is it surprised?

Each row is a run of `python -m pipeline.train`, one seed of one arm, and what is measured of it afterwards on other
episodes; it is written when it is known, and the same command goes on with what is missing.

    python -m benchmarks.planning --arms vicreg none ema sigreg three_rooms catch --seeds 5 \\
        --out benchmarks/results/planning.json

Arms: `vicreg` is `jepa-small` as it is, with its criteria (the cost of the last step alone, zones and margins,
surprise); `none`, `ema`, `sigreg` are other regularisers; `three_rooms` compares horizons; `catch` is `jepa-catch`;
`critic` is `jepa-critic`, with a critic, short plans and a reflex, and beside it stand a critic of means, one of the
goal's distance in place of time, and one in three rooms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.hardware import describe
from learners.planning.config import CostConfig, PlannerConfig
from learners.planning.plans import Plans
from pipeline.comparison import Comparison
from pipeline.detection import detect
from pipeline.train import main as train
from pipeline.trained import Trained, load

ZONES = (20.0, 24.0, 5.0, 44.0, 24.0, 5.0)
"""Two discs, one on each side of the door, on many ways through it, which still leave others."""
GUARDRAILS = ((1.0, 0.0), (4.0, 0.0), (20.0, 0.0), (20.0, 1.0), (20.0, 2.0), (20.0, 4.0))
"""Weight of a pixel inside, and margin in pixels."""
HORIZONS, SHORT = (3, 6, 10), (1, 3)
"""In blocks of four steps; those that a critic looks on from."""
SCARCE = {"samples": 16, "iterations": 2}
"""A tenth of the usual candidates."""
REGULARISERS = ("vicreg", "none", "ema", "sigreg")
THREE_ROOMS = ["--env.layout", "three_rooms", "--env.evaluation-steps", "80"]
ARMS: dict[str, list[str]] = {
    **{kind: ["jepa-small", "--algorithm.world-model.regulariser.kind", kind] for kind in REGULARISERS},
    "three_rooms": ["jepa-small", *THREE_ROOMS],
    "catch": ["jepa-catch"],
    "critic": ["jepa-critic"],
    "critic_mean": ["jepa-critic", "--algorithm.critic.expectile", "0.5"],
    "critic_cost": ["jepa-critic", "--algorithm.critic.kind", "cost", "--algorithm.critic.discount", "0.97"],
    "critic_three_rooms": ["jepa-critic", *THREE_ROOMS, "--algorithm.agent.planner.blocks", "3"],
}
"""Preset and flags."""
METRICS = ("features/mean_std", "features/relative_error_24", "place/error_24", "place/linear_error", "place/linear_r2")
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=["vicreg"], choices=ARMS)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 .. SEEDS - 1")
    parser.add_argument(
        "--episodes", type=int, default=100, help="of each way to plan, and of each kind that is tampered with"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/planning"), help="where the runs are kept")
    parser.add_argument("--out", type=Path, required=True, help="file of the rows; those it has are kept")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="of every run, last on the line")
    flags = parser.parse_args(argv)
    rows: list[Row] = json.loads(flags.out.read_text())["rows"] if flags.out.exists() else []
    for arm in flags.arms:
        for seed in range(flags.seeds):
            if (arm, seed) in {(row["arm"], row["seed"]) for row in rows}:
                continue
            rows.append(measure(arm, seed, flags.episodes, flags.runs, flags.flags))
            answer = {"question": "does a joint-embedding agent plan its way to a goal", "rows": rows}
            flags.out.write_text(json.dumps(answer, indent=1) + "\n")
            print(json.dumps(rows[-1]), file=sys.stderr)


def measure(arm: str, seed: int, episodes: int, runs: Path, more: Sequence[str]) -> Row:
    run_dir, line = runs / f"{arm}-seed{seed}", [*ARMS[arm], "--seed", str(seed)]
    code = train([*line, "--in-process", "--run-dir", str(run_dir), *more])
    assert code == 0, code
    timings = [json.loads(line) for line in (run_dir / "timings.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    scores = json.loads((run_dir / "scores.json").read_text())
    row: Row = {
        "arm": arm,
        "seed": seed,
        "score_mean": scores["score_mean"],
        "episodes": len(scores["episodes"]),
        **{name: metrics[-1][name] for name in METRICS if name in metrics[-1]},
        "train_seconds": round(sum(each["total"] for each in timings), 1),
        "command": " ".join(["python -m pipeline.train", *line, "--in-process", *more]),
        "hardware": describe(),
    }
    trained = load(run_dir)
    algorithm = trained.learner.algorithm
    assert isinstance(algorithm, Plans)
    started = time.perf_counter()
    if arm == "vicreg":
        row |= criteria(trained, algorithm, episodes)
    if arm == "three_rooms":
        row["ways"] = horizons(trained, algorithm, episodes)
    if arm.startswith("critic"):
        row["ways"] = outlooks(trained, algorithm, episodes)
    return row | {"measure_seconds": round(time.perf_counter() - started, 1)}


def criteria(trained: Trained, algorithm: Plans, episodes: int) -> Row:
    """Floors, the sum beside the last step's cost, zones without and with margins, areas under the curve."""
    compared = Comparison(trained, algorithm, episodes, seed=1)
    compared.play_floors()
    planner, cost = algorithm.planner, algorithm.cost
    compared.play(planner, cost, ZONES)
    compared.play(changed(planner, objective="last"), cost)
    for weight, margin in GUARDRAILS:
        zones = {"zones": ZONES, "zone_weight": weight, "zone_margin": margin}
        compared.play(planner, CostConfig.model_validate(cost.model_dump() | zones), ZONES)
    areas = detect(trained, algorithm, episodes=episodes, steps=12, seed=1).areas
    return {"ways": [without_settings(row) for row in compared.rows], "areas": areas}


def horizons(trained: Trained, algorithm: Plans, episodes: int) -> list[Row]:
    compared = Comparison(trained, algorithm, episodes, seed=1)
    compared.play_floors()
    for kind in ("cem", "mppi"):
        for blocks in HORIZONS:
            compared.play(changed(algorithm.planner, kind=kind, blocks=blocks), algorithm.cost)
    return [without_settings(row) for row in compared.rows]


def outlooks(trained: Trained, algorithm: Plans, episodes: int) -> list[Row]:
    """Plans of few actions, without what the critic expects after them and with it; what the reflex does at once; long
    plans without the critic, and short of candidates, from nothing and from what the reflex would do."""
    compared = Comparison(trained, algorithm, episodes, seed=1)
    compared.play_floors()
    for blocks in SHORT:
        for weight in (0.0, 1.0):
            cost = CostConfig.model_validate(algorithm.cost.model_dump() | {"critic": weight})
            compared.play(changed(algorithm.planner, blocks=blocks), cost)
    compared.play(changed(algorithm.planner, kind="reflex"), algorithm.cost)
    blind = CostConfig.model_validate(algorithm.cost.model_dump() | {"critic": 0.0})
    for settings in ({}, SCARCE, SCARCE | {"guess": True}):
        compared.play(changed(algorithm.planner, blocks=6, **settings), blind)
    return [without_settings(row) for row in compared.rows]


def changed(planner: PlannerConfig, **settings: Any) -> PlannerConfig:
    return PlannerConfig.model_validate(planner.model_dump() | settings)


def without_settings(row: Row) -> Row:
    """Its name says them."""
    return {name: value for name, value in row.items() if name not in ("planner", "cost")}


if __name__ == "__main__":
    main()
