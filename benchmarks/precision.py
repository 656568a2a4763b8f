"""Does bfloat16 change how a part learns? Loss curves of the same training in both number formats.

A preset's parts train one after another on steps of its game under random play: in float32, in bfloat16 with the same
seed (same initial weights, same batches), and in float32 with another seed, which shows how far apart two curves may
lie that mean the same. Of each part: the mean loss over the last fifth of the steps, and the two differences.

    python -m benchmarks.precision --preset atari-demo --steps 300 --picture docs/images/precision.png \\
        --out benchmarks/results/precision_cpu.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actors.collector import Collector
from benchmarks.question import Question
from benchmarks.sink import MemorySink
from benchmarks.workload import Workload
from learners.algorithm import AgentConfig
from learners.config import LearnerConfig
from learners.experience import Chunk
from learners.learner import Learner

CURVES = {
    "float32": (LearnerConfig(precision="float32"), 0),
    "bfloat16": (LearnerConfig(precision="bfloat16"), 0),
    "float32, another seed": (LearnerConfig(precision="float32"), 1),
}
WINDOW = 10
"""Gradient steps per point of a curve."""


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("precision", "loss curves in bfloat16 against float32", __doc__)
    Workload.add_flags(question.flags, preset="atari-demo")
    question.flags.add_argument("--frames", type=int, default=2_000, help="environment steps to learn from")
    question.flags.add_argument("--steps", type=int, default=300, help="gradient steps of each part")
    question.flags.add_argument("--picture", type=Path, help="file for the curves as a picture")
    flags = question.ask(argv)
    workload = Workload.of(flags)
    config = workload.config
    agent = AgentConfig(config.algorithm, config.env.build(seed=0).action_space)
    chunks = random_play(workload, agent, flags.frames)
    curves: dict[str, dict[str, list[float]]] = {part: {} for part in config.trainings}
    for name, (learner_config, seed) in CURVES.items():
        learner = Learner(agent, config.dataset, learner_config, seed=seed, device=flags.device)
        learner.extend(chunks)
        for part, of_part in curves.items():
            of_part[name] = [
                learner.train(part, 1, range(first, first + WINDOW))["loss"] for first in range(0, flags.steps, WINDOW)
            ]
            question.note(f"{part}, {name}", {"first": of_part[name][0], "last": of_part[name][-1]})
    if flags.picture:
        draw(flags.picture, curves)
    question.answer(
        {
            "workload": workload.describe() | {"precision": "both"},
            "measured": {"frames": flags.frames, "steps": flags.steps, "window": WINDOW},
            "parts": {part: compare(of_part) for part, of_part in curves.items()},
            "curves": curves,
        }
    )


def random_play(workload: Workload, agent: AgentConfig, num_steps: int) -> list[Chunk]:
    """Steps of the preset's game under uniformly random actions."""
    config = workload.config
    collection = config.collection.model_copy(update={"epsilon": 1.0})
    sink = MemorySink()
    collector = Collector(config.env, collection, agent, sink, seed=0, index=0)
    learner = Learner(agent, config.dataset, config.learner, seed=0, device="cpu")
    collector.collect(1, num_steps, learner.weights(), 0)
    return sink.take()


def compare(curves: dict[str, list[float]]) -> dict[str, Any]:
    """Of one part: final losses, and how far two of them lie apart."""
    final = {name: float(np.mean(losses[-max(1, len(losses) // 5) :])) for name, losses in curves.items()}
    half, single, other = final["bfloat16"], final["float32"], final["float32, another seed"]
    return {"final_loss": final, "by_format": abs(half - single), "by_seed": abs(other - single)}


def draw(path: Path, curves: dict[str, dict[str, list[float]]]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3), layout="constrained")
    for axis, (part, of_part) in zip(axes, curves.items(), strict=True):
        for (name, losses), style in zip(of_part.items(), ("-", "--", ":"), strict=True):
            axis.plot(np.arange(1, len(losses) + 1) * WINDOW, losses, style, label=name)
        axis.set_title(f"{part.replace('_', ' ')}: loss")
        axis.set_xlabel("gradient step")
    axes[-1].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
