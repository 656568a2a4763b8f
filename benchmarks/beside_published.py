"""How much faster is each part than the published way of doing the same work, and one algorithm than the other?

Ours and our own code made to repeat the published work (see `--as-published` of benchmarks.learner_step; here also one
position per call of the transformer in imagination) take turns on the same synthetic experience, so that a machine's
slow minutes hit both. The published code itself is not run; benchmarks/published.py has what we measured of it once.

    python -m benchmarks.beside_published --out benchmarks/results/beside_published_cpu.json
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.imagination import rollout
from benchmarks.question import Question
from benchmarks.synthetic import settle, synthetic_learner
from benchmarks.timing import seconds_of
from benchmarks.workload import PARTS, Workload
from learners.nn.key_value_cache import KeyValueCache

IMAGINATION = "imagination"
BATCHES = {"tokenizer": 4, "world_model": 8, "actor_critic": 8}


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("beside_published", "seconds of each part's step, ours and the published way", __doc__)
    question.flags.add_argument("--presets", nargs="+", default=["iris-atari100k", "delta-iris-atari100k"])
    question.flags.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of ours")
    question.flags.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    question.flags.add_argument("--repeats", type=int, default=5, help="turns of each, of which the median counts")
    flags = question.ask(argv)
    rows = [measure(preset, flags.precision, flags.device, flags.repeats) for preset in flags.presets]
    question.answer({"batches": BATCHES, "precision": flags.precision, "repeats": flags.repeats, "rows": rows})


def measure(preset: str, precision: str, device: str, repeats: int) -> dict[str, Any]:
    """Of one algorithm."""
    workload = workload_of(preset, precision, device, as_published=False)
    ours = calls_of(workload)
    theirs = calls_of(workload_of(preset, precision, device, as_published=True))
    rows = {name: compare(ours[name], theirs[name], workload.device, repeats) for name in ours}
    return {"preset": preset, "horizon": workload.dreamer.horizon, **rows}


def calls_of(workload: Workload) -> dict[str, Callable[[], object]]:
    """A gradient step of every part, and imagination alone, on a learner of their own."""
    learner = synthetic_learner(workload, num_steps=300)
    calls: dict[str, Callable[[], object]] = {}
    for part in PARTS:
        settle(workload, learner, part)
        calls[part] = partial(learner.train, part, 1, range(1))
    calls[IMAGINATION] = rollout(workload, learner, workload.dreamer.transitions)
    if workload.as_published:
        world_model = learner.parts["world_model"].module
        for name in ("actor_critic", IMAGINATION):
            calls[name] = partial(separately, world_model, calls[name])
    return calls


def workload_of(preset: str, precision: str, device: str, as_published: bool) -> Workload:
    flags = {f"{part}_batch": size for part, size in BATCHES.items()}
    how = {"preset": preset, "device": device, "precision": None if as_published else precision, "perceptual": None}
    return Workload.of(argparse.Namespace(**flags, **how, as_published=as_published))


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], device: torch.device, repeats: int
) -> dict[str, float]:
    """Medians of calls that take turns, after one of each that warms up."""
    turns = [(seconds_of(ours, device), seconds_of(theirs, device)) for _ in range(1 + repeats)][1:]
    fast, slow = map(statistics.median, zip(*turns, strict=True))
    return {"seconds": fast, "published_way_seconds": slow, "speedup": slow / fast}


def separately(world_model: Any, call: Callable[[], object]) -> None:
    """Calls while a dream's steps feed the transformer single positions; its context still goes in at once."""
    transformer = world_model.transformer
    forward, block_size = transformer.forward, world_model.block_size

    def one_by_one(x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        if cache is None or x.shape[1] > block_size:
            return forward(x, cache)
        return torch.cat([forward(each, cache) for each in x.split(1, dim=1)], dim=1)

    transformer.forward = one_by_one
    try:
        call()
    finally:
        del transformer.forward


if __name__ == "__main__":
    main()
