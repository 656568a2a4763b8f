"""What does a run compute, and how long would a GPU need for it at least? Counted, not measured, on any machine.

Of each part's gradient step, of each derived column and of a whole iteration in which all parts train: floating-point
operations, and operators that compute, each of which waits for the one before it. They are counted at a small batch,
of which operations grow with the batch and operators do not; replayed CUDA graphs run as many kernels. Two floors stand
beside them: the operations at --tflops, and 2 µs for each operator. Collecting, evaluating and commits are left out.

    python -m benchmarks.floors --preset delta-iris-atari100k --out benchmarks/results/floors_delta_iris.json
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.iteration import derived_columns, frames_filled
from benchmarks.operations import KERNEL_SECONDS, Operations, count, step_operations
from benchmarks.question import Question
from benchmarks.synthetic import fill, synthetic_learner
from benchmarks.workload import PARTS, Workload
from learners.columns import DERIVE_BATCH
from pipeline.presets import PRESETS

FRAMES = 10 * DERIVE_BATCH
"""In which derived columns are counted: rows are computed in batches of one size, of which the last is not full."""


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("floors", "operations of a run, and the least seconds of them on a GPU", __doc__)
    Workload.add_flags(question.flags, preset="delta-iris-atari100k")
    question.flags.set_defaults(**{f"{part}_batch": 2 for part in PARTS})
    question.flags.add_argument("--tflops", type=float, default=790.0, help="of the card; an H200's in bfloat16")
    flags = question.ask(argv)
    if not flags.tflops > 0:
        question.flags.error(f"--tflops: found {flags.tflops}, expected more than 0")
    workload, config = Workload.of(flags), PRESETS[flags.preset][1]
    steps = step_operations(workload, list(config.trainings))
    rows: dict[str, dict[str, Any]] = {}
    for part, counted in steps.items():
        training = config.trainings[part]
        batch = workload.config.trainings[part].batch_size
        whole = Operations(counted.flops * training.batch_size // batch, counted.kernels)
        in_all = sum(map(training.steps_in, range(1, config.iterations + 1)))
        rows[part] = row(whole, training.steps_per_iteration, in_all, flags.tflops)
    learner = synthetic_learner(workload, num_steps=FRAMES)
    for name, readers in derived_columns(learner).items():
        # In batches so large that a frame waits for hardly any operator: none is counted.
        each = Operations(count(partial(fill, learner, [name])).flops // FRAMES, 0)
        filled = frames_filled(config, readers)
        rows[name] = row(each, config.planned_steps(config.iterations), filled, flags.tflops)
    total = {
        key: sum(each[key] for each in rows.values())
        for key in ("tflop_per_iteration", "kernels_per_iteration", "hours_of_operations", "hours_of_kernels")
    }
    question.answer({"workload": workload.describe(), "tflops": flags.tflops, "rows": rows, "total": total})


def row(each: Operations, per_iteration: int, in_all: int, tflops: float) -> dict[str, Any]:
    """Of so many steps or frames like `each` in a full iteration, and in the whole run."""
    seconds = each.flops / (tflops * 1e12)
    return {
        "tflop": each.flops / 1e12,
        "kernels": each.kernels,
        "per_iteration": per_iteration,
        "tflop_per_iteration": each.flops / 1e12 * per_iteration,
        "kernels_per_iteration": each.kernels * per_iteration,
        "hours_of_operations": in_all * seconds / 3600,
        "hours_of_kernels": in_all * each.kernels * KERNEL_SECONDS / 3600,
    }


if __name__ == "__main__":
    main()
