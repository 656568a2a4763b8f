"""How many steps a second does the world model imagine?

Takes whole actor-critic steps (rollout in the world model, gradient pass, optimiser) of a preset from synthetic
contexts: with the contexts' frames encoded and decoded before, and with all of that to do. An imagined step is one
transition of one trajectory.

    python -m benchmarks.imagination --preset iris-atari100k --batch 8 --out benchmarks/results/imagination_cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from benchmarks.ceiling import ceiling_flops, median_seconds
from benchmarks.hardware import describe
from benchmarks.synthetic import synthetic_learner, with_batch_sizes
from pipeline.presets import PRESETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="iris-atari100k", choices=sorted(PRESETS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="trajectories side by side; default: the preset's")
    parser.add_argument("--frames", type=int, default=500, help="environment steps in the synthetic dataset")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    batches = {"actor_critic": arguments.batch} if arguments.batch else {}
    config = with_batch_sizes(PRESETS[arguments.preset][1], batches)
    learner = synthetic_learner(config, device, num_steps=arguments.frames)
    steps = iter(range(10**9))
    iterations = iter(range(1, 10**9))

    def cached() -> None:
        first = next(steps)
        learner.train("actor_critic", 0, range(first, first + 1))

    def uncached() -> None:
        learner.train("actor_critic", next(iterations), range(1))

    for _ in range(20):  # every frame has been a context: what is left to derive is nothing
        learner._gradient_step(learner._trainers["actor_critic"], 0, next(steps))
    batch, transitions = config.actor_critic.training.batch_size, config.actor_critic.horizon - 1
    seconds = {
        "actor_critic_step_cached_burn_in": median_seconds(cached, device, repeats=arguments.repeats),
        "actor_critic_step_uncached_burn_in": median_seconds(uncached, device, repeats=arguments.repeats),
    }
    ceiling = ceiling_flops(device, torch.float32)
    result = {
        "question": "imagined steps per second within an actor-critic step",
        "command": " ".join(["python -m benchmarks.imagination", *sys.argv[1:]]),
        "hardware": describe(),
        "settings": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MALLOC_MMAP_MAX_")},
        "number_format": "float32",
        "batch": batch,
        "transitions": transitions,
        "ceiling_gflops": {name: round(value / 1e9, 1) for name, value in ceiling.items()},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "imagined_steps_per_second": {name: round(batch * transitions / value, 1) for name, value in seconds.items()},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
