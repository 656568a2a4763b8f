"""How long does a gradient step of each part take, and how far is that from what the machine can do?

Runs the learner of a preset on synthetic experience, part by part, in its steady state: derived columns are filled for
all stored frames beforehand, as they are after the first steps of an iteration (benchmarks.imagination measures what
that costs). Of each part: seconds, operations (counted in such a step), their rate as a fraction of the machine's
ceiling in the same precision, peak memory. "sample" is having 64 × 21 frames on the device, with the columns of the
actor-critic and with raw frames only.

    python -m benchmarks.learner_step --preset iris-atari100k --tokenizer-batch 32 --world-model-batch 4 \\
        --actor-critic-batch 8 --out benchmarks/results/learner_step_cpu.json
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.ceiling import Ceilings, measure_ceilings
from benchmarks.memory import peak_gb, reset_peak
from benchmarks.operations import Operations, step_operations
from benchmarks.published import compare
from benchmarks.question import Question
from benchmarks.synthetic import settle, synthetic_learner
from benchmarks.timing import median_seconds
from benchmarks.workload import PARTS, Workload
from learners.drawing import UniformDrawing
from learners.learner import Learner

SAMPLE = "sample"
SAMPLE_SHAPE = (64, 21)
"""Segments and steps of each."""


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("learner_step", "seconds per gradient step of each part", __doc__)
    Workload.add_flags(question.flags, preset="iris-atari100k")
    question.flags.add_argument("--frames", type=int, default=1_000, help="steps in the synthetic dataset")
    question.flags.add_argument("--repeats", type=int, default=5, help="timed calls, of which the median counts")
    rows = (*PARTS, SAMPLE)
    question.flags.add_argument("--rows", nargs="+", default=rows, choices=rows)
    flags = question.ask(argv)
    workload = Workload.of(flags)
    ceilings = measure_ceilings(workload.device)
    parts = [row for row in flags.rows if row != SAMPLE]
    operations = step_operations(workload, parts)
    learner = synthetic_learner(workload, num_steps=flags.frames)
    findings: dict[str, Any] = {}
    for part in parts:
        findings[part] = measure_part(workload, learner, part, operations[part], ceilings, flags.repeats)
        question.note(part, findings[part])
    sample = {SAMPLE: measure_sample(workload, learner, flags.repeats)} if SAMPLE in flags.rows else {}
    measured = {"frames": flags.frames, "repeats": flags.repeats, "steps_per_call": workload.steps_per_call}
    question.answer({"workload": workload.describe(), "measured": measured, "parts": findings, **sample}, ceilings)


def measure_part(
    workload: Workload, learner: Learner, part: str, operations: Operations, ceilings: Ceilings, repeats: int
) -> dict[str, Any]:
    """One gradient step, and how far its `operations` are from the ceiling."""
    batch_size, steps = workload.config.trainings[part].batch_size, workload.steps_per_call
    settle(workload, learner, part)
    reset_peak(workload.device)
    seconds = median_seconds(lambda: learner.train(part, 1, range(steps)), workload.device, repeats=repeats) / steps
    return {
        "batch_size": batch_size,
        "seconds": seconds,
        "tflop": operations.flops / 1e12,
        "of_ceiling": operations.flops / seconds / max(ceilings[workload.precision]),
        "peak_memory_gb": peak_gb(workload.device),
        **compare(part, seconds, batch_size, workload, ceilings),
    }


def measure_sample(workload: Workload, learner: Learner, repeats: int) -> dict[str, Any]:
    """Milliseconds to have a batch of segments on the device."""
    part, drawing = "actor_critic", UniformDrawing(SAMPLE_SHAPE[1], anchor="end")
    settle(workload, learner, part)

    def milliseconds(columns: Sequence[str]) -> float:
        def sample() -> None:
            rows = learner.dataset.draw(drawing, SAMPLE_SHAPE[0], np.random.default_rng(0), iteration=1)
            learner.dataset.gather(rows, columns)

        return 1e3 * median_seconds(sample, workload.device, repeats=repeats)

    columns = learner.parts[part].columns
    return {
        "segments": SAMPLE_SHAPE[0],
        "length": SAMPLE_SHAPE[1],
        "milliseconds": {" + ".join(names): milliseconds(names) for names in (columns, ("frames",))},
    }


if __name__ == "__main__":
    main()
