"""Directories of runs that were never played."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.config import AtariConfig, CatchConfig, CrafterConfig
from pipeline.config import RunConfig
from pipeline.evaluation import Episode, Evaluation, protocol_of
from pipeline.presets import preset

DEBUG_ATARI = preset("debug-atari")

EPISODES = 3


def write_run(
    root: Path,
    game: str,
    seed: int,
    score: float = 1.0,
    *,
    preset: str = "p",
    metrics: Sequence[Mapping[str, Any]] = (),
    **changes: Any,
) -> Path:
    """A finished run in `root`/<game>-<seed>; `changes` are of its Evaluation."""
    env = {"catch": CatchConfig(), "crafter": CrafterConfig()}.get(game) or AtariConfig(game=game)
    config = DEBUG_ATARI.model_copy(update={"preset": preset, "env": env, "seed": seed})
    run = root / f"{game}-{seed}"
    (run / "checkpoints" / f"{config.iterations:06d}").mkdir(parents=True)
    (run / "config.json").write_text(config.model_dump_json())
    (run / "scores.json").write_bytes(evaluation(config, score).model_copy(update=changes).to_bytes())
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in metrics))
    return run


def evaluation(config: RunConfig, score: float, episodes: int = EPISODES, checkpoint: str = "c0ffee") -> Evaluation:
    protocol = protocol_of(config.env, config.evaluation, steps=60, iterations=config.iterations, episodes=episodes)
    return Evaluation(
        preset=config.preset,
        game=config.game,
        seed=config.seed,
        iterations=config.iterations,
        steps=60,
        lost_steps=0,
        checkpoint=checkpoint,
        protocol=protocol,
        machine={"device": "cpu", "torch": "2.13.0"},
        score_mean=score,
        score_std=0.0,
        success_rates={},
        episodes=[Episode(seed=config.seed, index=index, score=score, length=9) for index in range(episodes)],
    )


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["algorithm,game,seed,score", *lines]))
    return path
