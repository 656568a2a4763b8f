"""What can be watched or played: the game, a dream of it, both side by side, stored episodes; by the agent or by you.

A scene is stepped by whoever shows it, and says after each step what there is to see. Nothing here knows of a browser.

Legend: frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch

from actors.envs.environment import HasGoal, PlacesGoals
from learners.action_space import Action
from learners.algorithm import Thinks
from learners.nn.sampling import uniforms
from pipeline.trained import Trained
from pipeline.viewer import tokens
from pipeline.viewer.mind import Doer, Frame, Mind, actor_of, aimed, plan_of
from pipeline.viewer.settings import Settings


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


def one_of_several(action: Action | None) -> int | None:
    """An action that is one; none that is numbers."""
    return None if action is None or np.ndim(action) else int(action)


def thought_over(view: View, mind: Mind | Doer) -> View:
    """The moment, with what an agent that says so thinks of it."""
    if isinstance(mind, Doer):
        return view
    return replace(view, value=mind.value, probabilities=mind.probabilities, costs=mind.costs, doubt=mind.doubt)


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
        return thought_over(replace(view, tokens=seen), self._mind)

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
        return thought_over(replace(view, tokens=seen), self._mind)

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
