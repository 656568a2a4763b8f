"""Does a joint-embedding world model plan its way to a goal, what does each of its pieces do, and is it surprised?

Each row is a run of `python -m pipeline.train`, one seed of one arm, and what is measured of it afterwards on other
episodes; it is written when it is known, and the same command goes on with what is missing.

    python -m benchmarks.planning --arms vicreg none ema sigreg three_rooms catch --seeds 5 \\
        --out benchmarks/results/planning.json

Arms: `vicreg` is `jepa-small` as it is, with its criteria (the cost of the last step alone, zones and margins,
surprise); `none`, `ema`, `sigreg` are other regularisers; `three_rooms` compares horizons; `catch` is `jepa-catch`,
`catch_policy` the same with a policy that learns in its dreams, `catch_critic` with a critic and a reflex; `pusht` is
`jepa-gym` in a stranger's environment; `critic` is `jepa-critic`, with a critic, short plans and a reflex, and beside
it stand a critic of means, one of means that rehearses plans, one of the goal's distance in place of time, one that is
a quasimetric, and two in three rooms, the second of which rehearses; `agent` is `jepa-agent`, all of it and each piece
alone in three rooms; in `slip` moves are lost or happen twice, and the model knows of several outcomes, in `slip_plain`
of one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.envs.rooms import Rooms
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
REHEARSED = ["--algorithm.critic.expectile", "0.5", "--algorithm.critic.rehearsal.plans", "8"]
SLIPPERY = ["jepa-small", "--env.lost", "0.3", "--env.doubled", "0.1"]
SPREADS = (0.0, 0.25, 0.5, 1.0)
ARMS: dict[str, list[str]] = {
    **{kind: ["jepa-small", "--algorithm.world-model.regulariser.kind", kind] for kind in REGULARISERS},
    "three_rooms": ["jepa-small", *THREE_ROOMS],
    "catch": ["jepa-catch"],
    "catch_policy": ["jepa-catch", "--algorithm.agent.kind", "policy"],
    "catch_critic": [
        "jepa-catch",
        *("--algorithm.critic.kind", "cost", "--algorithm.critic.steps", "5", "--algorithm.agent.cost.critic", "1"),
        *("--algorithm.reflex.kind", "distilled", "--algorithm.agent.planner.blocks", "3"),
    ],
    "pusht": ["jepa-gym", "--env.id", "gym_pusht:gym_pusht/PushT-v0", "--env.frames", "rendered"],
    "critic": ["jepa-critic"],
    "critic_mean": ["jepa-critic", "--algorithm.critic.expectile", "0.5"],
    "critic_rehearsed": ["jepa-critic", *REHEARSED],
    "critic_cost": ["jepa-critic", "--algorithm.critic.kind", "cost", "--algorithm.critic.discount", "0.97"],
    "critic_quasimetric": ["jepa-critic", "--algorithm.critic.kind", "quasimetric"],
    "critic_three_rooms": ["jepa-critic", *THREE_ROOMS, "--algorithm.agent.planner.blocks", "3"],
    "critic_three_rooms_rehearsed": [
        "jepa-critic",
        *THREE_ROOMS,
        "--algorithm.agent.planner.blocks",
        "3",
        *REHEARSED,
    ],
    "agent": ["jepa-agent"],
    "slip": [*SLIPPERY, "--algorithm.world-model.latent.codes", "4"],
    "slip_plain": SLIPPERY,
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
    trained = load(run_dir, allow_module=["gym_pusht"])
    algorithm = trained.learner.algorithm
    assert isinstance(algorithm, Plans)
    started = time.perf_counter()
    if arm == "vicreg":
        row |= criteria(trained, algorithm, episodes)
    if arm == "three_rooms":
        row["ways"] = horizons(trained, algorithm, episodes)
    if arm.startswith("critic") or arm == "catch_critic":
        row["ways"] = outlooks(trained, algorithm, episodes)
    if arm == "agent":
        row["ways"] = pieces(trained, algorithm, episodes)
    if arm == "pusht":
        row["ways"] = floors(trained, algorithm, episodes)
    if arm.startswith("slip"):
        row |= chances(trained, algorithm, episodes)
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


def floors(trained: Trained, algorithm: Plans, episodes: int) -> list[Row]:
    compared = Comparison(trained, algorithm, episodes, seed=1)
    compared.play_floors()
    return [without_settings(row) for row in compared.rows]


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


def pieces(trained: Trained, algorithm: Plans, episodes: int) -> list[Row]:
    """In three rooms: one level, far plans by MPPI, two levels, the critic, the reflex, and all of them."""
    compared = Comparison(trained, algorithm, episodes, seed=1)
    compared.play_floors()
    full, together = {"samples": 64, "iterations": 5, "guess": False}, algorithm.cost
    blind = CostConfig.model_validate(together.model_dump() | {"critic": 0.0})
    for settings in (
        {"levels": 1},
        {"levels": 1, "kind": "mppi", "blocks": max(HORIZONS), "elites": 8},
        {"levels": 2},
    ):
        compared.play(changed(algorithm.planner, **full | settings), blind)
    for blocks in SHORT:
        compared.play(changed(algorithm.planner, **full, levels=1, blocks=blocks), together)
    for levels in (1, 2):
        compared.play(changed(algorithm.planner, kind="reflex", levels=levels), together)
    compared.play(algorithm.planner, together)
    return [without_settings(row) for row in compared.rows]


def chances(trained: Trained, algorithm: Plans, episodes: int) -> Row:
    """How often a move is foreseen to be lost, to happen once, twice; and plans by zones: with margins, and over drawn
    outcomes with more and more caution, where the model draws."""
    compared = Comparison(trained, algorithm, episodes, seed=1)
    compared.play_floors()
    planner, cost = algorithm.planner, algorithm.cost
    compared.play(planner, cost, ZONES)
    for margin in sorted({margin for _, margin in GUARDRAILS}):
        zones = {"zones": ZONES, "zone_weight": 20.0, "zone_margin": margin}
        compared.play(planner, CostConfig.model_validate(cost.model_dump() | zones), ZONES)
    if trained.config.algorithm.world_model.latent.codes > 1:  # type: ignore[attr-defined]
        guarded = CostConfig.model_validate(cost.model_dump() | {"zones": ZONES, "zone_weight": 20.0})
        for spread in SPREADS:
            compared.play(changed(planner, outcomes=4, spread=spread), guarded, ZONES)
    return {"outcomes": outcomes(trained, algorithm), "ways": [without_settings(row) for row in compared.rows]}


@torch.no_grad()
def outcomes(trained: Trained, algorithm: Plans, moves: int = 4000) -> list[float]:
    """Shares of longest moves, clear of the walls, that are foreseen to happen not at all, once and twice."""
    generator, env = np.random.default_rng(1), trained.environment(0)
    assert isinstance(env, Rooms)
    env.reset()
    layout, angle = env.layout, generator.uniform(-np.pi, np.pi, moves)
    actions = (layout.reach * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)
    free = 2 * layout.reach + 1.0
    right = layout.walls[0].x - layout.half_width
    places = generator.uniform(
        (layout.low + free, layout.low + free), (max(right - free, layout.low + free), layout.high - free), (moves, 2)
    )
    features = algorithm.observe(torch.from_numpy(np.stack([env.draw(place) for place in places])))
    uniforms = torch.from_numpy(generator.random(moves, dtype=np.float32))
    after = algorithm.foresee(features, torch.from_numpy(actions), uniforms)
    moved = (algorithm.place(after) - algorithm.place(features)).numpy()
    times = np.rint((moved * actions).sum(axis=1) / layout.reach**2).clip(0, 2).astype(int)
    return (np.bincount(times, minlength=3) / moves).tolist()


def changed(planner: PlannerConfig, **settings: Any) -> PlannerConfig:
    return PlannerConfig.model_validate(planner.model_dump() | settings)


def without_settings(row: Row) -> Row:
    """Its name says them."""
    return {name: value for name, value in row.items() if name not in ("planner", "cost")}


if __name__ == "__main__":
    main()
