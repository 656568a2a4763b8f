"""Named runs of the joint-embedding world model."""

from __future__ import annotations

from learners.catalogue import Preset
from learners.jepa.config import JepaConfig

PRESETS = {
    "jepa-small": Preset(
        "A world model of features that plans its way through a door, minutes on a CPU.",
        {
            "iterations": 10,
            "algorithm": JepaConfig(),
            "env": {"kind": "rooms"},
            "collection": {
                "steps_per_iteration": 2_000,
                "last_iteration": 10,
                "epsilon": 0.0,
                "envs_per_collector": 20,
            },
            "evaluation": {
                "every": 5,
                "episodes": 20,
                "final_episodes": 100,
                "epsilon": 0.0,
                "temperature": 1.0,
                "envs_per_evaluator": 20,
                "num_evaluators": 2,
            },
            "inspect_every": 5,
        },
    ),
}
