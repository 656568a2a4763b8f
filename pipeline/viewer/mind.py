"""Who acts in a scene: an agent along one trajectory, what it thinks there, and how it may be told to plan.

Legend: frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from actors.envs.environment import HasGoal
from learners.action_space import Action, ActionSpace
from learners.algorithm import Actor, Aims, Thinks
from learners.dreaming.dream import Renders
from learners.errors import AlgorithmError
from learners.planning.actor import PlanningActor
from learners.planning.config import TERMS, CostConfig, PlannerKind
from learners.planning.plans import Plans
from pipeline.trained import Trained
from pipeline.viewer.settings import Settings

Frame = NDArray[np.uint8]


class Mind:
    """An agent that says what it thinks, along one trajectory."""

    def __init__(self, actor: Thinks, generator: np.random.Generator, space: ActionSpace, state: Any) -> None:
        self._actor = actor
        self._generator = generator
        self._space = space
        self._state: Any = state
        self.probabilities: Sequence[float] = ()
        self.value: float | None = None
        self.foreseen: torch.Tensor | None = None
        """(H, *F), after the steps of its plan."""
        self.beyond: torch.Tensor | None = None
        """(P, *F), after the strides of an upper level's plan."""
        self.costs: Mapping[str, float] = {}
        """Of the rest of its plan, by term."""
        self.doubt: float | None = None
        """Standard deviation of what the whole of it might cost, when it was made."""

    def look(self, features: torch.Tensor, temperature: float) -> None:
        """At features (1, *F)."""
        thought = self._actor.think(features, self._state, self._generator, temperature=temperature)
        self._state = thought.state
        (self._action,) = self._space.unstack(thought.actions)
        self.probabilities = () if thought.odds is None else thought.odds[0].tolist()
        self.value = None if thought.value is None else float(thought.value[0])
        self.foreseen = None if thought.foreseen is None else thought.foreseen[0]
        self.beyond = None if thought.beyond is None else thought.beyond[0]
        if isinstance(self._actor, PlanningActor):
            costs = self._actor.costs_of(features, self._state)
            self.costs = {name: float(cost[0]) for name, cost in costs.items()}
            doubt = self._state.plan.doubt
            self.doubt = None if doubt is None else float(doubt[0])

    def act(self) -> Action:
        """What it decided on when it last looked."""
        return self._action

    def aim(self, goal: Frame) -> None:
        self._state = aimed(self._actor, self._state, goal)

    def become(self, actor: Thinks, goal: Frame | None) -> None:
        """The same mind with other rules, by which it may go for a goal that it has gone past."""
        self._actor = actor
        if isinstance(actor, PlanningActor):
            self._state = actor.anew(self._state)
        if goal is not None:
            self.aim(goal)


class Doer:
    """Any other agent along one trajectory: it says what it does and no more."""

    def __init__(self, actor: Actor, generator: np.random.Generator, space: ActionSpace, state: Any) -> None:
        self._actor = actor
        self._generator = generator
        self._space = space
        self._state = state

    def aim(self, goal: Frame) -> None:
        self._state = aimed(self._actor, self._state, goal)

    def look(self, frame: Frame, temperature: float) -> None:
        actions, self._state = self._actor.act(frame[None], self._state, self._generator, temperature=temperature)
        (self._action,) = self._space.unstack(actions)

    def act(self) -> Action:
        return self._action


def aimed(actor: Actor, state: Any, goal: Frame) -> Any:
    """Its state, once it has been shown where to go; who goes for no goals stays as it is."""
    return actor.aim(state, goal[None]) if isinstance(actor, Aims) else state


def keeps_out(trained: Trained) -> bool:
    """Whether an agent can be told of zones: one that looks for its plans can."""
    algorithm = trained.learner.algorithm
    if not (isinstance(trained.actor, PlanningActor) and isinstance(algorithm, Plans)):
        return False
    return algorithm.tells_places and algorithm.planner.kind != "reflex"


def ways_of(trained: Trained) -> dict[str, Any] | None:
    """How an agent that plans may be told to, with what it has learnt: kinds of planners, levels, terms of a cost."""
    algorithm, updates = trained.learner.algorithm, trained.learner.updates()
    if not (isinstance(algorithm, Plans) and isinstance(trained.actor, PlanningActor)):
        return None

    def is_possible(kind: str) -> bool:
        try:
            algorithm.planning_actor(algorithm.planner.model_copy(update={"kind": kind}), algorithm.cost)
        except AlgorithmError:
            return False
        return kind != "reflex" or updates["reflex"] > 0

    kinds = [kind for kind in get_args(PlannerKind) if is_possible(kind)]
    terms = [term for term in TERMS if term not in ("goal", "critic")]
    terms += ["goal"] if isinstance(trained.game, HasGoal) else []
    terms += ["critic"] if updates.get("critic") else []
    return {"kinds": kinds, "levels": [1, 2] if updates.get("upper") else [1], "terms": terms}


def actor_of(trained: Trained, settings: Settings) -> Any:
    """Who acts; an agent that plans does so as the settings say, and keeps out of the zones.

    Raises: ValueError if they are none; AlgorithmError if it cannot.
    """
    algorithm, actor = trained.learner.algorithm, trained.actor
    if not (isinstance(algorithm, Plans) and isinstance(actor, PlanningActor)):
        return actor
    planner, cost = settings.planner or algorithm.planner, settings.cost or algorithm.cost
    zones = settings.zones or cost.zones
    return algorithm.planning_actor(planner, CostConfig.model_validate(cost.model_dump() | {"zones": zones}))


def plan_of(mind: Mind, algorithm: Renders) -> dict[str, Frame]:
    """What an agent that plans is about to see, all steps of its plan over each other, and all of an upper level's."""
    found = {"its plan": mind.foreseen, "its strides": mind.beyond}
    return {name: algorithm.render(plan).amax(dim=0).numpy() for name, plan in found.items() if plan is not None}
