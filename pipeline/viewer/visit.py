"""One browser's visit: what it may ask for, and what it is shown."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field, ValidationError

from learners.config import FRAME_SIZE, Config
from learners.errors import AlgorithmError
from learners.planning.config import TERMS, PlannerConfig, PlannerKind
from learners.planning.plans import Plans
from pipeline.errors import UsageError, first_mistake
from pipeline.trained import Trained
from pipeline.viewer.keys import bindings, choices
from pipeline.viewer.mind import actor_of, ways_of
from pipeline.viewer.scenes import Aimed, Dreamt, Game, Recorded, Scene, SideBySide, View
from pipeline.viewer.settings import Settings

Mode = Literal[
    "agent in the game",
    "you in the game",
    "agent in the dream",
    "you in the dream",
    "dream beside reality",
    "stored episodes",
]
MODES: Mapping[Mode, str] = {
    "agent in the game": "game",
    "you in the game": "game",
    "agent in the dream": "dream",
    "you in the dream": "dream",
    "dream beside reality": "beside",
    "stored episodes": "stored",
}
"""And the kind of scene that each shows."""
FIRST_RATE = 10.0
"""Steps a second, until somebody asks for others."""


MOST_ZONES = 20
Pixel = Annotated[float, Field(ge=0, le=FRAME_SIZE)]


class Command(Config):
    """What a browser may ask for; what it leaves out stays as it is."""

    mode: Mode | None = None
    episode: Annotated[int, Field(ge=0)] | None = None
    """Index of a stored one, together with `step`: where dreams and stored episodes start."""
    anywhere: bool = False
    """They start anywhere again."""
    step: Annotated[int, Field(ge=0)] | None = None
    action: Annotated[int, Field(ge=0)] | None = None
    """Of the keys that are held."""
    sent: float | None = None
    """The browser's clock, which is sent back with the first picture after it."""
    seen: bool = False
    """A picture was shown."""
    paused: bool | None = None
    once: bool = False
    """One step, though it is paused."""
    rate: Annotated[float, Field(ge=0.5, le=60.0)] | None = None
    """Steps a second."""
    temperature: Annotated[float, Field(ge=0.01, le=5.0)] | None = None
    horizon: Annotated[int, Field(ge=1, le=10_000)] | None = None
    goal: tuple[Pixel, Pixel] | None = None
    """Where the agent is to go from now on."""
    zones: Annotated[tuple[Pixel, ...], Field(max_length=3 * MOST_ZONES)] | None = None
    """Where it must not go: x, y and radius of discs; none: it may go anywhere."""
    kind: PlannerKind | None = None
    """How it looks for plans."""
    levels: Literal[1, 2] | None = None
    weights: Annotated[dict[str, float], Field(max_length=20)] | None = None
    """Of its cost's terms; those that are not named stay."""

    @property
    def is_of_plans(self) -> bool:
        return any(said is not None for said in (self.zones, self.kind, self.levels, self.weights))


class Visit:
    """A thread of its own calls this, and nobody else: what a message says is of one moment."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._settings = Settings(trained.config.evaluation.temperature)
        self._seeds = iter(range(10**9))
        self._mode: Mode = "agent in the game"
        self._sent: float | None = None
        self._note = ""
        """What could not be done, in one line."""
        self._ways = ways_of(trained)
        self._choices = choices(trained.game.action_space, trained.game.action_names)
        self._chosen = next(each.action for each in bindings([name for name, _ in self._choices]) if not each.keys)
        self._done: int | None = None
        """Your choice of the last step, if it was yours."""
        self._row: int | None = None
        self._scene = self._make(self._mode)
        self.paused = False
        self.rate = FIRST_RATE

    def obey(self, command: Command) -> bytes | None:
        """A message, if there is a reason for one before the next step."""
        try:
            return self._obey(command)
        except UsageError as error:
            self._note = str(error)
            return self.look()

    def advance(self) -> bytes:
        """The message after one step more."""
        self._done = self._chosen if self._mode.startswith("you") else None
        return self._message(self._scene.step(None if self._done is None else self._choices[self._done].action))

    def look(self) -> bytes:
        """The message of the moment that it is."""
        return self._message(self._scene.view())

    def _obey(self, command: Command) -> bytes | None:
        self._note = ""
        self._settings.temperature = command.temperature or self._settings.temperature
        self._settings.horizon = command.horizon or self._settings.horizon
        self.rate = command.rate or self.rate
        self.paused = self.paused if command.paused is None else command.paused
        self._sent = self._sent if command.sent is None else command.sent
        if command.action is not None:
            if command.action >= (count := len(self._choices)):
                raise UsageError(f"action: found {command.action}, expected 0 to {count - 1}")
            self._chosen = command.action
        if command.episode is not None:
            try:
                self._row = self._trained.learner.dataset.row(command.episode, command.step or 0)
            except IndexError:
                raise UsageError(f"found no step {command.step or 0} of episode {command.episode}") from None
        self._row = None if command.anywhere else self._row
        mode, moves = command.mode or self._mode, command.anywhere or command.episode is not None
        if command.mode or (moves and MODES[mode] != "game"):
            self._scene, self._mode, self._done = self._make(mode), mode, None
            return self.look()
        if command.goal is not None or command.is_of_plans:
            return self._direct(command)
        if command.once:
            return self.advance()
        return None if command.paused is None else self.look()

    def _direct(self, command: Command) -> bytes:
        """Goals, zones, ways to plan; where nobody acts, ways are kept for when somebody does."""
        scene = cast(Aimed, self._scene) if MODES[self._mode] in ("game", "dream") else None
        try:
            if scene and command.goal is not None:
                scene.aim(*command.goal)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if command.is_of_plans:
            before = replace(self._settings)
            try:
                self._change(command)
                actor_of(self._trained, self._settings)  # or it is refused
                if scene:
                    scene.plan_anew()
            except (AlgorithmError, ValueError, UsageError) as error:
                vars(self._settings).update(vars(before))
                words = first_mistake(error) if isinstance(error, ValidationError) else str(error)
                raise UsageError(words) from error
        return self.look()

    def _change(self, command: Command) -> None:
        settings, algorithm = self._settings, self._trained.learner.algorithm
        settings.zones = settings.zones if command.zones is None else command.zones
        if not isinstance(algorithm, Plans) or self._ways is None:
            return
        asked = {"kind": [command.kind], "level": [command.levels], "term": list(command.weights or ())}
        for name, values in asked.items():
            known = self._ways[f"{name}s"]
            if unknown := [value for value in values if value is not None and value not in known]:
                raise UsageError(f"{name}: found {str(unknown[0])[:40]}, expected one of {', '.join(map(str, known))}")
        changed = {"kind": command.kind, "levels": command.levels}
        changed = {name: value for name, value in changed.items() if value is not None}
        planner = settings.planner or algorithm.planner
        settings.planner = PlannerConfig.model_validate(planner.model_dump() | changed)
        settings.cost = (settings.cost or algorithm.cost).with_weights(command.weights or {})

    def _make(self, mode: Mode) -> Scene:
        """Raises UsageError if the agent cannot be seen in this way."""
        kind, seed = MODES[mode], next(self._seeds)
        if kind == "game":
            return Game(self._trained, self._settings, seed)
        if kind == "dream":
            return Dreamt(self._trained, self._settings, seed, self._row)
        dataset = self._trained.learner.dataset
        row = self._row or dataset.row(int(np.random.default_rng(seed).integers(dataset.num_episodes)), 0)
        if kind == "beside":
            return SideBySide(self._trained, self._settings, seed, row)
        return Recorded(self._trained, row)

    def _way(self) -> dict[str, object]:
        """In which it plans now, if it does."""
        algorithm = self._trained.learner.algorithm
        if not isinstance(algorithm, Plans):
            return {}
        planner, cost = self._settings.planner or algorithm.planner, self._settings.cost or algorithm.cost
        return {
            "kind": planner.kind,
            "levels": planner.levels,
            "weights": {term: getattr(cost, term) for term in TERMS},
        }

    def _message(self, view: View) -> bytes:
        """Length of a header as 4 bytes, the header in JSON, and of each picture 64 × 64 × 3 bytes, rows from the
        top."""
        header = {
            "pictures": list(view.pictures),
            "step": view.step,
            "score": view.score if isfinite(view.score) else None,
            "action": self._done if self._done is not None and view.step else view.action,
            "ended": view.ended,
            "value": view.value if view.value is not None and isfinite(view.value) else None,
            "probabilities": [round(each, 4) if isfinite(each) else 0.0 for each in view.probabilities],
            "errors": [round(each, 5) for each in view.errors],
            "tokens": [list(view.tokens.get(name, ())) for name in view.pictures],
            "mode": self._mode,
            "paused": self.paused,
            "sent": self._sent,
            "note": self._note,
            "zones": self._settings.zones,
            "costs": {name: round(cost, 5) for name, cost in view.costs.items() if isfinite(cost)},
            "doubt": view.doubt if view.doubt is not None and isfinite(view.doubt) else None,
            **self._way(),
        }
        self._sent = None
        text = json.dumps(header, allow_nan=False).encode()
        pictures = [np.ascontiguousarray(each.transpose(1, 2, 0)).tobytes() for each in view.pictures.values()]
        return struct.pack("<I", len(text)) + text + b"".join(pictures)
