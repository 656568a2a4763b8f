"""How fast are the games? Agent steps per second of random play on one core, resets included.

python -m benchmarks.environment --out benchmarks/results/environment.json
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from actors.config import AtariConfig, CatchConfig, CrafterConfig
from actors.envs.environment import Environment
from benchmarks.question import Question
from benchmarks.timing import seconds_of

GAMES = {"pong": AtariConfig(game="Pong"), "crafter": CrafterConfig(), "catch": CatchConfig()}


def main(argv: Sequence[str] | None = None) -> None:
    question = Question("environment", "agent steps per second and core of random play", __doc__)
    question.flags.add_argument("--games", nargs="+", default=list(GAMES), choices=GAMES)
    question.flags.add_argument("--steps", type=int, default=2_000, help="agent steps per repetition")
    question.flags.add_argument("--repeats", type=int, default=5, help="of which the median counts")
    flags = question.ask(argv)
    findings = {}
    for name in flags.games:
        findings[name] = measure(GAMES[name].build(seed=0), flags.steps, flags.repeats)
        question.note(name, findings[name])
    question.answer({"steps": flags.steps, "repeats": flags.repeats, "games": findings})


def measure(environment: Environment, steps: int, repeats: int) -> dict[str, Any]:
    environment.reset()
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(repeats):
        actions = environment.action_space.unstack(environment.action_space.sample(rng, steps))
        rates.append(steps / seconds_of(lambda actions=actions: play(environment, actions), torch.device("cpu")))
    return {"steps_per_second": statistics.median(rates), "slowest": min(rates), "fastest": max(rates)}


def play(environment: Environment, actions: Sequence[int]) -> None:
    for action in actions:
        if environment.step(action).ended:
            environment.reset()


if __name__ == "__main__":
    main()
