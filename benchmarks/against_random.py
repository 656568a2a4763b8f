"""Does a preset play a game better than chance? Whole runs, one seed after another, against uniformly random actions.

Each seed is a run of `python -m pipeline.train` to its end, whose final evaluation counts; random play is scored by the
same evaluator under the same protocol. A seed's row is written when its run ends; the same command goes on with what is
missing, and with a run that was interrupted. Wall time is the sum of a run's iterations.

    python -m benchmarks.against_random --preset atari-small --game Boxing --seeds 3 \\
        --out benchmarks/results/against_random_Boxing.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from actors.config import AtariConfig
from actors.envs.games import check_game
from benchmarks.curves import draw
from benchmarks.hardware import describe
from pipeline.config import RunConfig
from pipeline.floor import play_floor
from pipeline.presets import PRESETS

RANDOM_EPISODES = 100
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="atari-small", choices=sorted(PRESETS))
    parser.add_argument("--game", help="another than the preset's")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 .. SEEDS - 1")
    parser.add_argument("--runs", type=Path, default=Path("runs/against_random"), help="where the runs are kept")
    parser.add_argument("--out", type=Path, required=True, help="file of the rows; those it has are kept")
    parser.add_argument("--picture", type=Path, help="of the evaluations of every seed; random play is a dotted line")
    flags = parser.parse_args(argv)
    config = PRESETS[flags.preset][1]
    if flags.game:
        config = of_game(config, flags.game)
    known: Row = json.loads(flags.out.read_text()) if flags.out.exists() else {}
    random, rows = known.get("random") or play_at_random(config), known.get("rows", [])
    for seed in range(flags.seeds):
        if seed not in {row["seed"] for row in rows}:
            rows.append(train(config, seed, flags.runs))
            rows.sort(key=lambda row: row["seed"])
        question = f"does {flags.preset} play {config.game} better than chance"
        answer = {"question": question, **verdict(random, rows), "random": random, "rows": rows}
        flags.out.write_text(json.dumps(answer, indent=1) + "\n")
        print(json.dumps(rows[-1]), file=sys.stderr)
    print(json.dumps(verdict(random, rows), indent=1))
    if flags.picture:
        draw(flags.picture, rows, random["score_mean"])


def of_game(config: RunConfig, game: str) -> RunConfig:
    """The same on another Atari game; how long an evaluation lasts is part of the protocol and stays."""
    return config.model_copy(update={"env": config.env.model_copy(update={"game": check_game(game)})})


def play_at_random(config: RunConfig) -> Row:
    """As `python -m pipeline.evaluate --agent random` plays."""
    found = play_floor(config, "random", episodes=RANDOM_EPISODES, in_process=True)
    return {"episodes": RANDOM_EPISODES, "score_mean": found.score_mean, "score_std": found.score_std}


def train(config: RunConfig, seed: int, runs: Path) -> Row:
    """A run to its end."""
    run_dir = runs / f"{config.preset}-{config.game}-seed{seed}"
    game = ["--env.game", config.game] if isinstance(config.env, AtariConfig) else []
    command = ["-m", "pipeline.train", config.preset, *game, "--seed", str(seed)]
    subprocess.run([sys.executable, *command, "--run-dir", str(run_dir)], check=True, stdout=sys.stderr)
    scores = json.loads((run_dir / "scores.json").read_text())
    timings = [json.loads(line) for line in (run_dir / "timings.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    name = "evaluation/score_mean"
    return {
        "seed": seed,
        **{key: scores[key] for key in ("iterations", "steps", "score_mean", "score_std")},
        "episodes": len(scores["episodes"]),
        "wall_seconds": round(sum(row["total"] for row in timings), 1),
        "command": " ".join(["python", *command]),
        "hardware": describe(),
        "scores": [[record["steps"], record[name]] for record in metrics if name in record],
    }


def verdict(random: Mapping[str, Any], rows: Sequence[Row]) -> Row:
    """Means minus that of random play in standard errors of this difference: of each seed, whose episodes are the
    sample, and of the mean over seeds, which then are."""
    means = [row["score_mean"] for row in rows]
    difference, noise = float(np.mean(means)) - random["score_mean"], _square_error(random)
    found: Row = {"seeds": len(rows), "score_mean": float(np.mean(means)), "above_random": difference}
    errors = [sqrt(_square_error(row) + noise) for row in rows]
    above = [
        (mean - random["score_mean"]) / error if error else None for mean, error in zip(means, errors, strict=True)
    ]
    found["of_each_seed_standard_errors_above"] = above
    if len(rows) > 1:
        error = sqrt(np.var(means, ddof=1) / len(means) + noise)
        found |= {"standard_error": error, "standard_errors_above": difference / error if error else None}
    return found


def _square_error(play: Mapping[str, Any]) -> float:
    """Of the mean score of its episodes."""
    return play["score_std"] ** 2 / play["episodes"]


if __name__ == "__main__":
    main()
