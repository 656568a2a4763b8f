"""What can be watched or played: the game, a dream of it, both side by side, stored episodes; by the agent or by you.

A scene is stepped by whoever shows it, and says after each step what there is to see. Nothing here knows of a browser.

Legend: frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from actors.envs.environment import HasGoal, PlacesGoals
from learners.action_space import Action, ActionSpace
from learners.algorithm import Actor, Aims, Thinks
from learners.dreaming.dream import Renders
from learners.errors import AlgorithmError
from learners.nn.sampling import uniforms
from learners.planning.actor import PlanningActor
from learners.planning.config import TERMS, CostConfig, PlannerConfig, PlannerKind
from learners.planning.plans import Plans
from pipeline.trained import Trained
from pipeline.viewer import tokens

Frame = NDArray[np.uint8]


@dataclass
class Settings:
    """What may change while a scene is on."""

    temperature: float
    """Of what the agent draws its actions with; near 0 it takes the likeliest."""
    horizon: int = 200
    """Imagined steps until a dream starts anew."""
    zones: tuple[float, ...] = ()
    """Where an agent that plans must not go: x, y and radius of discs, one after another."""
    planner: PlannerConfig | None = None
    """How it plans, if not as it was trained to."""
    cost: CostConfig | None = None
    """By what, if not by that."""


@dataclass(frozen=True)
class View:
    """One moment."""

    pictures: dict[str, Frame]
    """By what they show."""
    step: int
    """Since the episode or the dream began."""
    score: float
    """Sum of rewards since then."""
    action: int | None = None
    """That led here, if it was one of several."""
    ended: bool = False
    value: float | None = None
    """What the agent thinks this moment is worth."""
    probabilities: Sequence[float] = ()
    """Of what it would do next, by action."""
    errors: Sequence[float] = ()
    """Mean difference of imagined from real pixels after each step, 0 to 1."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """What the rest of its plan costs, by term."""
    doubt: float | None = None
    """Standard deviation of what all of it might cost, when it was made."""
    tokens: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By picture; none where the agent has none."""


class Scene(Protocol):
    def step(self, action: Action | None) -> View:
        """One step on: with this action, or with the agent's own. After an end it begins anew."""
        ...

    def view(self) -> View:
        """The moment that it is."""
        ...


class Aimed(Scene, Protocol):
    """One in which an agent goes for something, and keeps out of somewhere."""

    def aim(self, x: float, y: float) -> None:
        """For what is seen there, in pixels of a frame. Raises ValueError where nothing can be."""
        ...

    def plan_anew(self) -> None:
        """As the settings say now."""
        ...


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

    def adds_to(self, view: View) -> View:
        """What it thinks of that moment."""
        return replace(view, value=self.value, probabilities=self.probabilities, costs=self.costs, doubt=self.doubt)


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

    def adds_to(self, view: View) -> View:
        return view


def one_of_several(action: Action | None) -> int | None:
    """An action that is one; none that is numbers."""
    return None if action is None or np.ndim(action) else int(action)


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


class Game:
    """The real game, as it is played for a score, but for random actions (ε)."""

    def __init__(self, trained: Trained, settings: Settings, seed: int) -> None:
        self._trained = trained
        self._settings = settings
        self._generator = np.random.default_rng(seed)
        self._environment = trained.environment(seed)
        self._begin()

    def step(self, action: Action | None) -> View:
        if self._ended:
            self._begin()
            return self.view()
        chosen = self._mind.act() if action is None else action
        step = self._environment.step(chosen)
        self._action = one_of_several(chosen)
        self._steps += 1
        self._score += step.reward
        self._ended = step.ended
        if not step.ended:
            self._see(step.frame, chosen)
        return self.view()

    def view(self) -> View:
        view = View(self._pictures, self._steps, self._score, self._action, self._ended)
        seen = {"what the agent sees" if "what the agent sees" in self._pictures else "the game": self._tokens}
        return self._mind.adds_to(replace(view, tokens=seen))

    def aim(self, x: float, y: float) -> None:
        if isinstance(self._environment, PlacesGoals):
            self._goal["the goal"] = self._environment.place_goal(x, y)
            self._pictures |= self._goal
            self._mind.aim(self._goal["the goal"])

    def plan_anew(self) -> None:
        if isinstance(self._mind, Mind):
            self._mind.become(actor_of(self._trained, self._settings), self._goal.get("the goal"))

    def _begin(self) -> None:
        actor, space = actor_of(self._trained, self._settings), self._trained.game.action_space
        self._tokenizing = tokens.Episode(self._trained)
        self._steps, self._score, self._ended = 0, 0.0, False
        self._action: int | None = None
        frame, state = self._environment.reset(), actor.initial_state(1)
        self._goal: dict[str, Frame] = {}
        if isinstance(self._environment, HasGoal) and (goal := self._environment.goal()) is not None:
            self._goal["the goal"] = goal
            state = aimed(actor, state, goal)
        if isinstance(actor, Thinks) and hasattr(self._trained.learner.algorithm, "observe"):
            self._mind: Mind | Doer = Mind(actor, self._generator, space, state)
        else:
            self._mind = Doer(actor, self._generator, space, state)
        self._see(frame, None)

    @torch.no_grad()
    def _see(self, frame: Frame, action: Action | None) -> None:
        """A frame, and what led to it."""
        self._pictures, self._tokens = {"the game": frame, **self._goal}, self._tokenizing.of(frame, action)
        if isinstance(self._mind, Doer):
            self._mind.look(frame, self._settings.temperature)
            return
        algorithm: Any = self._trained.learner.algorithm
        features = algorithm.observe(torch.from_numpy(frame)[None])
        self._mind.look(features, self._settings.temperature)
        if hasattr(algorithm, "render"):
            self._pictures |= {"what the agent sees": algorithm.render(features)[0].numpy()}
            self._pictures |= plan_of(self._mind, algorithm)


class Dreamt:
    """A dream that goes on from a stored step."""

    def __init__(self, trained: Trained, settings: Settings, seed: int, row: int | None = None) -> None:
        """From a row of the experience, or from any."""
        self._trained = trained
        self._settings = settings
        self._dreams = trained.dreams
        self._generator = np.random.default_rng(seed)
        self._row = row
        self._begin()

    def step(self, action: Action | None) -> View:
        if self._ended:
            self._begin()
            return self.view()
        self._chosen = self._mind.act() if action is None else action
        noise = uniforms((1, self._dreams.noise_per_step), self._noise)
        space = self._trained.game.action_space
        rewards, ends = self._dream.step(torch.from_numpy(space.stack([self._chosen])), noise)
        del self._dream.features[:-1]
        self._steps += 1
        self._score += float(rewards[0])
        self._ended = bool(ends[0]) or self._steps >= self._settings.horizon
        self._mind.look(self._dream.features[-1], self._settings.temperature)
        return self.view()

    @torch.no_grad()
    def view(self) -> View:
        pictures = {"the dream": self._dreams.render(self._dream.features[-1])[0].numpy(), **self._goal}
        pictures |= plan_of(self._mind, self._dreams)
        view = View(pictures, self._steps, self._score, one_of_several(self._chosen), self._ended)
        seen = {"the dream": tokens.of_dream(self._dream)}
        return self._mind.adds_to(replace(view, tokens=seen))

    def aim(self, x: float, y: float) -> None:
        if isinstance(game := self._trained.game, PlacesGoals):
            self._goal["the goal"] = game.place_goal(x, y)
            self._mind.aim(self._goal["the goal"])

    def plan_anew(self) -> None:
        self._mind.become(actor_of(self._trained, self._settings), self._goal.get("the goal"))

    @torch.no_grad()
    def _begin(self) -> None:
        dataset, actor = self._trained.learner.dataset, actor_of(self._trained, self._settings)
        row = self._row or int(self._generator.integers(1, 1 + dataset.num_steps))
        context = self._trained.context(np.array([row]), self._dreams.dream_columns)
        self._noise = torch.Generator().manual_seed(int(self._generator.integers(2**63)))
        self._dream = self._dreams.dream(context)
        state = actor.burn_in_on(self._dreams.context_features(context)[:, :-1], context.mask[:, :-1])
        self._goal: dict[str, Frame] = {}
        if isinstance(self._trained.game, HasGoal):  # what it saw in any stored step
            there = np.array([[self._generator.integers(1, 1 + dataset.num_steps)]])
            self._goal["the goal"] = dataset.gather(there, ("frames",)).columns["frames"][0, 0].numpy()
            state = aimed(actor, state, self._goal["the goal"])
        self._mind = Mind(actor, self._generator, self._trained.game.action_space, state)
        self._mind.look(self._dream.features[-1], self._settings.temperature)
        self._steps, self._score, self._ended = 0, 0.0, False
        self._chosen: Action | None = None


class SideBySide:
    """A stored episode from one of its steps on, and a dream under the same actions."""

    def __init__(self, trained: Trained, settings: Settings, seed: int, row: int) -> None:
        self._trained = trained
        self._settings = settings
        self._dreams = trained.dreams
        self._noise = torch.Generator().manual_seed(seed)
        self._rows = trained.learner.dataset.since(row)
        self._steps_of = trained.learner.dataset.gather(self._rows[None], ("frames",))
        self._begin()

    def step(self, action: Action | None) -> View:
        if self._ended:
            self._begin()
            return self.view()
        noise = uniforms((1, self._dreams.noise_per_step), self._noise)
        actions = self._steps_of.actions[:, self._steps]
        self._score += float(self._steps_of.rewards[0, self._steps])
        self._action = one_of_several(actions[0].numpy())
        self._dream.step(actions, noise)
        del self._dream.features[:-1]
        self._steps += 1
        self._compare()
        return self.view()

    def view(self) -> View:
        view = View(self._pictures, self._steps, self._score, self._action, self._ended)
        return replace(view, errors=self._errors, tokens=self._tokens)

    @torch.no_grad()
    def _begin(self) -> None:
        context = self._trained.context(self._rows[:1], self._dreams.dream_columns)
        self._dream = self._dreams.dream(context)
        self._steps, self._score, self._errors = 0, 0.0, []
        self._action: int | None = None
        self._compare()

    @torch.no_grad()
    def _compare(self) -> None:
        """What came after the last stored action is not known: the frame before stays there."""
        is_known = self._steps < len(self._rows)
        real = self._steps_of.columns["frames"][0, self._steps if is_known else -1].numpy()
        imagined = self._dreams.render(self._dream.features[-1])[0].numpy()
        self._pictures = {"what happened": real, "the dream, same actions": imagined}
        row = int(self._rows[self._steps if is_known else -1])
        both = tokens.of_row(self._trained, row), tokens.of_dream(self._dream)
        self._tokens = dict(zip(self._pictures, both, strict=True))
        if is_known:
            self._errors = [*self._errors, float(np.abs(real.astype(int) - imagined.astype(int)).mean() / 255.0)]
        self._ended = self._steps >= min(len(self._rows), self._settings.horizon)


class Recorded:
    """A stored episode as it was played."""

    def __init__(self, trained: Trained, row: int) -> None:
        self._trained = trained
        self._rows = trained.learner.dataset.since(row)
        self._steps_of = trained.learner.dataset.gather(self._rows[None], ("frames",))
        self._steps, self._score = 0, 0.0

    def step(self, action: Action | None) -> View:
        if self._steps >= len(self._rows):
            self._steps, self._score = 0, 0.0
            return self.view()
        self._score += float(self._steps_of.rewards[0, self._steps])
        self._steps += 1
        return self.view()

    def view(self) -> View:
        at = min(self._steps, len(self._rows) - 1)
        pictures = {"what happened": self._steps_of.columns["frames"][0, at].numpy()}
        action = one_of_several(self._steps_of.actions[0, self._steps - 1].numpy()) if self._steps else None
        view = View(pictures, self._steps, self._score, action, self._steps >= len(self._rows))
        return replace(view, tokens=dict.fromkeys(pictures, tokens.of_row(self._trained, int(self._rows[at]))))
