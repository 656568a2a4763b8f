"""Does a preset learn, on every seed? Learning curves through the real pipeline, one seed after another.

Each seed is a run of `python -m pipeline.train`, stopped (as Ctrl-C would, after a commit) once its score was at least
`--threshold` in `--held` evaluations in a row. Wall time counts from the start of the command to that evaluation; CPU
seconds are those of the whole machine in that time, so nothing else should run. A seed's row is written when it ends,
and the same command goes on with the seeds that have none.

    python -m benchmarks.curves --preset catch --seeds 10 --threshold 0.95 \\
        --picture docs/images/curves_catch.png --out benchmarks/results/curves_catch.json
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.hardware import describe
from pipeline.presets import PRESETS

SCORE = "evaluation/score_mean"
POLL_SECONDS = 0.5
MAX_SECONDS = 7_200
"""Of one seed: a run that takes longer is no result."""
STOP_SECONDS = 120
"""A run that is told to stop finishes its commit first."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="catch", choices=sorted(PRESETS))
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 .. SEEDS - 1")
    parser.add_argument("--threshold", type=float, default=0.95, help="score of an evaluation that counts")
    parser.add_argument("--held", type=int, default=5, help="such evaluations in a row")
    parser.add_argument("--runs", type=Path, default=Path("runs/curves"), help="where the runs are kept")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="file of the rows; those it has are kept")
    flags = parser.parse_args(argv)
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = json.loads(flags.out.read_text())["rows"] if flags.out.exists() else []
    for seed in range(flags.seeds):
        if seed not in {row["seed"] for row in rows}:
            rows.append(learn(flags.preset, seed, flags.runs, flags.threshold, flags.held))
            rows.sort(key=lambda row: row["seed"])
            answer = {"question": f"how soon does {flags.preset} score {flags.threshold}, {flags.held} times in a row"}
            flags.out.write_text(json.dumps({**answer, **summary(rows), "rows": rows}, indent=1) + "\n")
            print(json.dumps({**rows[-1], "scores": "…"}), file=sys.stderr)
    print(json.dumps(summary(rows), indent=1))
    if flags.picture:
        draw(flags.picture, rows, flags.threshold)


def learn(preset: str, seed: int, runs: Path, threshold: float, held: int) -> dict[str, Any]:
    """One run, until it has learnt or is over."""
    run_dir = runs / f"{preset}-seed{seed}"
    command = ["-m", "pipeline.train", preset, "--seed", str(seed)]
    if run_dir.exists():
        raise SystemExit(f"{run_dir} exists: its time was not measured; remove it")
    start, cpu_start = time.monotonic(), cpu_seconds()
    process = subprocess.Popen([sys.executable, *command, "--run-dir", str(run_dir)], stdout=subprocess.DEVNULL)
    while not ended_within(process, POLL_SECONDS) and learnt_in(records(run_dir), threshold, held) is None:
        if time.monotonic() - start > MAX_SECONDS:
            process.send_signal(signal.SIGINT)
            raise SystemExit(f"{run_dir}: found no end after {MAX_SECONDS} s, which is no result")
    wall, cpu = time.monotonic() - start, cpu_seconds() - cpu_start
    process.send_signal(signal.SIGINT)
    process.wait(STOP_SECONDS)
    found = records(run_dir)
    iteration = learnt_in(found, threshold, held)
    if iteration is None and process.returncode:
        raise SystemExit(f"{run_dir}: the run ended with exit code {process.returncode}, which is no result")
    return {
        "seed": seed,
        "learnt": iteration is not None,
        "iteration": iteration,
        "environment_steps": found[(iteration or len(found)) - 1]["steps"],
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "command": " ".join(["python", *command]),
        "hardware": describe(),
        "scores": [[record["steps"], record[SCORE]] for record in found if SCORE in record],
    }


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def records(run_dir: Path) -> list[dict[str, Any]]:
    """Complete lines of the run's metrics so far."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def learnt_in(found: Sequence[dict[str, Any]], threshold: float, held: int) -> int | None:
    """The iteration whose evaluation was the last of `held` good ones in a row."""
    in_a_row = 0
    for record in found:
        if SCORE in record:
            in_a_row = in_a_row + 1 if record[SCORE] >= threshold else 0
            if in_a_row == held:
                return record["iteration"]
    return None


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    learnt = [row for row in rows if row["learnt"]]
    worst = {name: max((row[name] for row in learnt), default=None) for name in ("wall_seconds", "environment_steps")}
    return {"seeds": len(rows), "learnt": len(learnt), "slowest": worst}


def cpu_seconds() -> float:
    """Of all processes of this machine, ever."""
    with open("/proc/stat") as lines:
        user, nice, system = map(int, lines.readline().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def draw(path: Path, rows: Sequence[dict[str, Any]], threshold: float) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for row in rows:
        axis.plot(*zip(*row["scores"], strict=True), linewidth=1, label=f"seed {row['seed']}")
    axis.axhline(threshold, color="black", linewidth=0.8, linestyle=":")
    axis.set_xlabel("environment steps")
    axis.set_ylabel("mean score of an evaluation")
    axis.legend(fontsize="x-small", ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
