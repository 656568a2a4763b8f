"""`python -m pipeline.demo`: trains the preset `demo` in a new directory, or goes on with a demo that is unfinished.

At the end its score stands beside that of random play, by the same protocol, and on a terminal the page opens in which
the agent plays.
"""

from __future__ import annotations

import os
import sys
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import Launch, command
from pipeline.presets import preset
from pipeline.run_dir import RunDirectory, default_run_dir
from pipeline.train import train

if TYPE_CHECKING:
    from pipeline.evaluation import Evaluation

NEXT = "next: make play, a page in which this agent plays, or you do, in the game or in its dream of it"


def main() -> int:
    config = preset("demo")
    run_dir = demo_directory(default_run_dir(config))
    if code := train(Launch(config=config, run_dir=run_dir)):
        return code
    from pipeline.evaluation import read  # loads torch and the games, as training has
    from pipeline.floor import play_floor

    print(beside_random(play_floor(config, "random", in_process=True), read(RunDirectory(run_dir).scores_file)))
    show(run_dir)
    return 0


def show(run_dir: Path) -> None:
    """Becomes the page of a run, on a terminal; elsewhere nobody would end it, so it says how to open it."""
    if not sys.stdout.isatty():
        print(NEXT)
        return
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "pipeline.play", str(run_dir)])


def beside_random(random: Evaluation, agent: Evaluation) -> str:
    """Both means, and what is between them in standard errors of their difference, √(se² + se²)."""
    difference, error = agent.score_mean - random.score_mean, hypot(random.standard_error, agent.standard_error)
    side = "above" if difference > 0 else "below"
    apart = f", {abs(difference) / error:.1f} standard errors {side}" if error > 0 else ""  # nan of one game
    scores = f"random {random.score_mean:.4g} → this agent {agent.score_mean:.4g}"
    return f"{scores} ({len(agent.episodes)} games each{apart})"


def demo_directory(first: Path) -> Path:
    """The newest of `first`, `first`-2, `first`-3 … if it is unfinished, else the next one."""
    number, path = 1, first
    while (path / "scores.json").exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


if __name__ == "__main__":
    command(main)
