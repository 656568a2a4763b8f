"""How long does a gradient step of each part take, and how far is that from what the machine can do?

Runs the learner of a preset on synthetic experience, part by part: time, operations (counted by torch while the step
runs), fraction of the machine's own ceiling, peak memory. The perceptual network of `iris-*` presets gets random
weights (the same cost).

    python -m benchmarks.learner_step --preset iris-atari100k --tokenizer-batch 32 --world-model-batch 4 \\
        --actor-critic-batch 8 --out benchmarks/results/learner_step_cpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ceiling import ceiling_flops, median_seconds
from benchmarks.hardware import describe
from benchmarks.synthetic import synthetic_learner, with_batch_sizes
from pipeline.presets import PRESETS

PARTS = ("tokenizer", "world_model", "actor_critic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="iris-atari100k", choices=sorted(PRESETS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--frames", type=int, default=2_000, help="environment steps in the synthetic dataset")
    parser.add_argument("--repeats", type=int, default=5)
    for part in PARTS:
        flag = f"--{part.replace('_', '-')}-batch"
        parser.add_argument(flag, type=int, help="segments per gradient step; default: the preset's")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    batches = {part: size for part in PARTS if (size := getattr(arguments, f"{part}_batch"))}
    config = with_batch_sizes(PRESETS[arguments.preset][1], batches)
    learner = synthetic_learner(config, device, num_steps=arguments.frames)
    ceiling = ceiling_flops(device, torch.float32)
    rows = {}
    for part in arguments.parts:
        step = iter(range(10**9))

        def train(part: str = part, step: Any = step) -> None:
            first = next(step)
            learner.train(part, 1, range(first, first + 1))

        with FlopCounterMode(display=False) as counter:
            train()
        seconds = median_seconds(train, device, repeats=arguments.repeats)
        flops = counter.get_total_flops()
        rows[part] = {
            "batch_size": config.trainings[part].batch_size,
            "seconds": round(seconds, 4),
            "tflop": round(flops / 1e12, 4),
            "of_ceiling": round(flops / seconds / max(ceiling.values()), 3),
            "peak_memory_gb": round(_peak_memory(device), 2),
        }
        print(part, json.dumps(rows[part]), file=sys.stderr)
    result = {
        "question": "seconds per gradient step of each part",
        "command": " ".join(["python -m benchmarks.learner_step", *sys.argv[1:]]),
        "hardware": describe(),
        "settings": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MALLOC_MMAP_MAX_")},
        "number_format": "float32",
        "perceptual": config.world_model.tokenizer.perceptual,
        "ceiling_gflops": {name: round(value / 1e9, 1) for name, value in ceiling.items()},
        "parts": rows,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def _peak_memory(device: torch.device) -> float:
    """GB on the device so far, or resident in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
