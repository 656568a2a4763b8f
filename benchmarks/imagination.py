"""How fast does the agent imagine, and what does a gradient step of the actor-critic consist of?

Of one batch: imagination alone (drawing segments with their columns, burn-in, rollout), the whole gradient step, and
what a step of the rollout consists of: calls of the transformer, and aten operators that compute, each of which waits
for the one before it. An imagined step is one frame of one trajectory: batch × horizon of them are a rollout.

A rollout starts from columns (tokens, reconstructions) that are computed once per frame and iteration. Their cost is
measured on some frames and extrapolated to a dataset of which every frame is touched, as nearly all are.

    python -m benchmarks.imagination --batch 8 --out benchmarks/results/imagination_cpu.json
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.ceiling import measure_ceilings
from benchmarks.operations import count
from benchmarks.published import compare
from benchmarks.question import Question
from benchmarks.synthetic import fill, settle, synthetic_learner
from benchmarks.timing import median_seconds
from benchmarks.workload import Workload
from learners.dreaming.imagination import imagine, recorded_imagination
from learners.dreaming.target import WithTarget
from learners.learner import Learner
from learners.nn.precision import autocast
from learners.nn.sampling import uniforms

PART = "actor_critic"
DATASET_FRAMES = (10_000, 100_000)


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("imagination", "seconds of imagination, alone and within a gradient step", __doc__)
    Workload.add_flags(question.flags, preset="iris-atari100k", parts=[PART])
    question.flags.add_argument("--frames", type=int, default=300, help="steps in the synthetic dataset")
    question.flags.add_argument("--repeats", type=int, default=5, help="timed calls, of which the median counts")
    flags = question.ask(argv)
    workload = Workload.of(flags)
    ceilings = measure_ceilings(workload.device)
    learner = synthetic_learner(workload, num_steps=flags.frames)
    settle(workload, learner, PART)
    config = workload.dreamer
    batch_size = config.training.batch_size

    def seconds(call: Callable[[], object]) -> float:
        return median_seconds(call, workload.device, repeats=flags.repeats)

    alone = seconds(rollout(workload, learner, config.transitions))
    steps = workload.steps_per_call
    step = seconds(lambda: learner.train(PART, 1, range(steps))) / steps
    findings = {
        "imagination": {
            "seconds": alone,
            "imagined_steps_per_second": batch_size * config.horizon / alone,
            **compare("imagination", alone, batch_size, workload, ceilings),
        },
        "gradient_step": {"seconds": step, **compare(PART, step, batch_size, workload, ceilings)},
        "imagined_step": step_contents(workload, learner),
    }
    if not workload.as_published:
        findings["columns"] = columns_cost(workload, seconds(lambda: refill(learner)) / flags.frames, flags.frames)
    measured = {
        "batch_size": batch_size,
        "burn_in": config.burn_in,
        "horizon": config.horizon,
        "repeats": flags.repeats,
        "steps_per_call": steps,
    }
    question.answer({"workload": workload.describe(), "measured": measured, **findings}, ceilings)


def rollout(workload: Workload, learner: Learner, num_steps: int, *, record: bool = True) -> Callable[[], object]:
    """Draws a batch and imagines `num_steps` transitions; with `record`, in a CUDA graph where the learner would."""
    part, device = learner.parts[PART], workload.device
    world_model: Any = learner.algorithm
    policy: Any = part.module.online if isinstance(part.module, WithTarget) else part.module
    if record and learner.config.cuda_graph and device.type == "cuda":
        roll_out = recorded_imagination(world_model, policy)
    else:
        roll_out = partial(imagine, world_model, policy)
    rng, generator = np.random.default_rng(0), torch.Generator(device).manual_seed(0)
    batch_size = part.training.batch_size

    def call() -> None:
        with autocast(device, "float32" if part.in_full_precision else workload.precision):
            context = learner.dataset.gather(
                learner.dataset.draw(part.drawing, batch_size, rng, iteration=1), part.columns
            )
            roll_out(context, uniforms((num_steps, batch_size, 1 + world_model.noise_per_step), generator))

    return call


def step_contents(workload: Workload, learner: Learner) -> dict[str, Any]:
    """What a third imagined step adds to two: the first one differs, it reads the start frame."""
    transformer: Any = learner.parts["world_model"].module.transformer
    calls = 0

    def called(*_: object) -> None:
        nonlocal calls
        calls += 1

    hook = transformer.register_forward_hook(called)
    kernels, transformer_calls = [], []
    for num_steps in (2, 3):
        calls = 0
        kernels.append(count(rollout(workload, learner, num_steps, record=False)).kernels)
        transformer_calls.append(calls)
    hook.remove()
    return {
        "transformer_calls": transformer_calls[1] - transformer_calls[0],
        "dependent_kernels": kernels[1] - kernels[0],
    }


def refill(learner: Learner) -> None:
    learner.dataset.forget_derived()
    fill(learner, learner.parts[PART].columns)


def columns_cost(workload: Workload, seconds_per_frame: float, frames: int) -> dict[str, Any]:
    """Measured on `frames` frames, and what it would be for larger datasets."""
    steps = workload.dreamer.training.steps_per_iteration
    return {
        "measured_frames": frames,
        "seconds_per_frame": seconds_per_frame,
        "extrapolated": [
            {
                "frames": total,
                "seconds_per_iteration": seconds_per_frame * total,
                "seconds_per_gradient_step": seconds_per_frame * total / steps,
                "gradient_steps": steps,
            }
            for total in DATASET_FRAMES
        ],
    }


if __name__ == "__main__":
    main()
