"""Named runs of the joint-embedding world model."""

from __future__ import annotations

from learners.catalogue import Preset
from learners.config import PartTraining
from learners.jepa.config import (
    AgentConfig,
    DecoderConfig,
    HeadsConfig,
    JepaConfig,
    LatentConfig,
    RegulariserConfig,
    WorldModelConfig,
)
from learners.planning.config import (
    CostConfig,
    CriticConfig,
    PlannerConfig,
    ReflexConfig,
    RehearsalConfig,
    SearchConfig,
    UpperConfig,
    UpperPlannerConfig,
)

_EVALUATION = {
    "episodes": 20,
    "final_episodes": 100,
    "epsilon": 0.0,
    "temperature": 1.0,
    "envs_per_evaluator": 20,
    "num_evaluators": 2,
}
"""Of trips through rooms, but for how often."""
_ROOMS = {
    "iterations": 10,
    "env": {"kind": "rooms"},
    "collection": {"steps_per_iteration": 2_000, "last_iteration": 10, "epsilon": 0.0, "envs_per_collector": 20},
    "evaluation": {"every": 5, **_EVALUATION},
    "inspect_every": 5,
}
"""Two rooms, for a CPU."""


def _in_games() -> JepaConfig:
    """By rewards, with a critic beyond twelve steps."""

    def training(batch_size: int, steps: int) -> PartTraining:
        return PartTraining(
            starts_after=5, batch_size=batch_size, steps_per_iteration=steps, learning_rate=1e-3, max_gradient_norm=2.0
        )

    return JepaConfig(
        world_model=WorldModelConfig(features=512, hidden=512, rollout=8, training=training(128, 200)),
        heads=HeadsConfig(hidden=256, training=training(64, 100)),
        critic=CriticConfig(kind="cost", training=training(256, 200)),
        agent=AgentConfig(
            planner=PlannerConfig(blocks=12, block_steps=1, samples=128, elites=16, iterations=4),
            cost=CostConfig(goal=0.0, reward=1.0, critic=1.0),
        ),
    )


def _some_steps() -> PartTraining:
    return PartTraining(starts_after=0, batch_size=4, steps_per_iteration=2, learning_rate=1e-3)


PRESETS = {
    "jepa-small": Preset(
        "A joint-embedding model that plans its way through a door, on a CPU.",
        {**_ROOMS, "algorithm": JepaConfig(heads=HeadsConfig(place="red"))},
    ),
    "jepa-critic": Preset(
        "The same with a critic, which sees beyond short plans, and a reflex.",
        {
            **_ROOMS,
            "algorithm": JepaConfig(
                heads=HeadsConfig(place="red"),
                critic=CriticConfig(kind="time"),
                reflex=ReflexConfig(kind="distilled"),
                agent=AgentConfig(planner=PlannerConfig(blocks=1), cost=CostConfig(critic=1.0)),
            ),
        },
    ),
    "jepa-agent": Preset(
        "Three rooms with a critic, a reflex, and strides that set goals.",
        {
            **_ROOMS,
            "env": {"kind": "rooms", "layout": "three_rooms", "evaluation_steps": 80},
            "algorithm": JepaConfig(
                heads=HeadsConfig(place="red"),
                critic=CriticConfig(kind="quasimetric"),
                reflex=ReflexConfig(kind="distilled"),
                upper=UpperConfig(kind="chunks"),
                agent=AgentConfig(
                    planner=PlannerConfig(blocks=3, levels=2, guess=True, samples=16, iterations=2),
                    cost=CostConfig(critic=1.0),
                ),
            ),
        },
    ),
    "jepa-two-rooms": Preset(
        "Walls anywhere, the published size of networks and plans, unmeasured.",
        {
            "iterations": 20,
            "algorithm": JepaConfig(
                world_model=WorldModelConfig(
                    features=512,
                    hidden=512,
                    rollout=8,
                    regulariser=RegulariserConfig(similarity=12.0),
                    training=PartTraining(
                        starts_after=0,
                        batch_size=384,
                        steps_per_iteration=150,
                        learning_rate=1e-3,
                        weight_decay=1e-5,
                        max_gradient_norm=2.0,
                    ),
                ),
                heads=HeadsConfig(place="red"),
                agent=AgentConfig(
                    planner=PlannerConfig(kind="mppi", blocks=90, block_steps=1, samples=200, elites=20, iterations=20)
                ),
            ),
            "env": {"kind": "rooms", "walls": "random", "training_steps": 90, "evaluation_steps": 200},
            "collection": {
                "steps_per_iteration": 10_000,
                "last_iteration": 20,
                "epsilon": 0.0,
                "envs_per_collector": 20,
            },
            "evaluation": {"every": 10, **_EVALUATION},
            "inspect_every": 5,
        },
    ),
    "jepa-catch": Preset(
        "Catch by planning, on a joint-embedding model of random play, on a CPU.",
        {
            "iterations": 10,
            "algorithm": JepaConfig(
                world_model=WorldModelConfig(rollout=8),
                heads=HeadsConfig(
                    training=PartTraining(starts_after=0, batch_size=64, steps_per_iteration=100, learning_rate=1e-3)
                ),
                agent=AgentConfig(
                    planner=PlannerConfig(blocks=9, block_steps=1, samples=64, elites=8, iterations=3),
                    cost=CostConfig(goal=0.0, reward=1.0),
                ),
            ),
            "env": {"kind": "catch"},
            "collection": {
                "steps_per_iteration": 1_000,
                "last_iteration": 10,
                "epsilon": 1.0,
                "envs_per_collector": 4,
            },
            "evaluation": {
                "every": 5,
                "episodes": 50,
                "final_episodes": 100,
                "epsilon": 0.0,
                "temperature": 1.0,
                "envs_per_evaluator": 25,
                "num_evaluators": 2,
            },
            "inspect_every": 5,
        },
    ),
    "jepa-atari": Preset(
        "Atari by planning on rewards and a critic; unmeasured. Needs a GPU.",
        {
            "algorithm": _in_games(),
            "env": {"kind": "atari", "channels": "moments"},
            "collection": {"epsilon": 0.1},
            "evaluation": {"temperature": 1.0},
        },
    ),
    "jepa-crafter": Preset(
        "The same on Crafter, 1 000 000 steps; unmeasured. Needs a GPU.",
        {
            "algorithm": _in_games(),
            "env": {"kind": "crafter"},
            "collection": {"epsilon": 0.1, "steps_per_iteration": 2_000, "envs_per_collector": 8},
            "evaluation": {"temperature": 1.0},
        },
    ),
    "jepa-gym": Preset(
        "Any Gymnasium id by planning on rewards: --env.id module:Name-v0.",
        {
            "iterations": 20,
            "algorithm": JepaConfig(
                world_model=WorldModelConfig(rollout=8),
                agent=AgentConfig(
                    planner=PlannerConfig(blocks=8, block_steps=2), cost=CostConfig(goal=0.0, reward=1.0)
                ),
            ),
            "env": {"kind": "gym"},
            "collection": {
                "steps_per_iteration": 1_000,
                "last_iteration": 20,
                "epsilon": 1.0,
                "envs_per_collector": 4,
            },
            "evaluation": {"every": 10, "episodes": 8, "final_episodes": 32, "epsilon": 0.0, "temperature": 1.0},
            "inspect_every": 5,
        },
    ),
    "jepa-debug": Preset(
        "Seconds: tiny networks and plans in rooms, to see the machinery work.",
        {
            "iterations": 3,
            "algorithm": JepaConfig(
                world_model=WorldModelConfig(
                    features=16,
                    channels=16,
                    hidden=16,
                    rollout=3,
                    latent=LatentConfig(codes=2),
                    training=_some_steps(),
                ),
                heads=HeadsConfig(hidden=16, place="red", training=_some_steps()),
                decoder=DecoderConfig(channels=4, training=_some_steps()),
                critic=CriticConfig(
                    kind="time",
                    hidden=16,
                    steps=3,
                    reach=6,
                    rehearsal=RehearsalConfig(
                        plans=2, memory=6, planner=SearchConfig(blocks=2, samples=8, elites=2, iterations=2)
                    ),
                    training=_some_steps(),
                ),
                reflex=ReflexConfig(kind="distilled", hidden=16, rollout=1, training=_some_steps()),
                upper=UpperConfig(kind="chunks", steps=2, hidden=8, rollout=2, near=1, training=_some_steps()),
                agent=AgentConfig(
                    planner=PlannerConfig(
                        levels=2, blocks=2, block_steps=2, samples=8, elites=2, iterations=2, outcomes=2, spread=0.5
                    ),
                    upper=UpperPlannerConfig(blocks=2, samples=8, elites=2, iterations=2),
                    cost=CostConfig(critic=1.0),
                ),
            ),
            "env": {"kind": "rooms", "training_steps": 12, "evaluation_steps": 6},
            "collection": {"first_steps": 30, "steps_per_iteration": 20, "epsilon": 0.1},
            "evaluation": {"every": 2, "episodes": 2, "final_episodes": 3, "envs_per_evaluator": 2},
            "inspect_every": 2,
            "log_every": 1,
        },
    ),
}
