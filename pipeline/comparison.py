"""Planners on the same episodes, row by row: what each reaches, how long it thinks, which ways it takes.

Legend: E episodes, H steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actors.envs.environment import HasGoal, PlacesGoals
from learners.action_space import Box
from learners.config import FRAME_SIZE
from learners.durable import write_durably
from learners.errors import AlgorithmError
from learners.inspection import Film, Grid
from learners.memory import is_too_large
from learners.planning.config import CostConfig, PlannerConfig, describe
from learners.planning.plan import PlanError
from learners.planning.plans import Plans
from learners.streams import Streams
from pipeline import media
from pipeline.errors import UsageError
from pipeline.evaluation import in_words
from pipeline.out_directory import TABLE_FILE
from pipeline.trained import Trained
from pipeline.trips import Act, Planner, Trips, random_play, standing_still

SHOWN = 8
"""Episodes whose ways are drawn, in a row for each planner."""
SQUARE = 2
"""Pixels per side, of a map of distances."""


class Comparison:
    def __init__(self, trained: Trained, algorithm: Plans, episodes: int, seed: int) -> None:
        self._trained = trained
        self._algorithm = algorithm
        self._episodes = episodes
        self._streams = Streams(seed)
        self.rows: list[dict[str, Any]] = []
        self._trails: list[list[NDArray[np.uint8]]] = []
        self._film: Film | None = None
        measured = trained.config.env.evaluation_protocol | {"episodes": episodes, "seed of the episodes": seed}
        self.protocol = f"{trained.title}; {in_words(measured)}"

    def play_floors(self) -> None:
        """Random play, and in a box who stands still."""
        space = self._trained.game.action_space
        floors: dict[str, Act] = {"random": random_play(space, self._streams.numpy("random play"))}
        if isinstance(space, Box):
            floors["standing still"] = standing_still(space)
        for name, act in floors.items():
            trips = self._begin()
            trips.play(act)
            self._note(name, trips, {})

    def check(self, planner: PlannerConfig, cost: CostConfig) -> None:
        """Raises UsageError, in one line, if it cannot plan so."""
        try:
            if (longest := self._trained.config.env.longest_episode) is not None:
                planner.check_episode(longest)
            self._algorithm.planning_actor(planner, cost)
            if cost.goal and not isinstance(self._trained.game, HasGoal):
                raise UsageError(f"cost: found goal {cost.goal:g}, expected 0 in a game that sets no goals")
            asked = {"critic": cost.critic > 0, "reflex": planner.asks_reflex, "upper": planner.levels == 2}
            self._check_updates(asked)
        except (AlgorithmError, ValueError) as error:
            raise UsageError(str(error)) from error

    def _check_updates(self, asked: Mapping[str, bool]) -> None:
        updates, trainings = self._trained.learner.updates(), self._trained.config.trainings
        for part in [name for name, is_asked in asked.items() if is_asked]:
            if not updates[part]:
                words = f"{part}: found no training of it until iteration {self._trained.iteration}, the last commit"
                raise UsageError(f"{words}; expected it from iteration {1 + trainings[part].starts_after} on")

    def play(self, planner: PlannerConfig, cost: CostConfig, zones: Sequence[float] = ()) -> None:
        """One row. Steps in zones are counted whether the cost keeps out of them or not.

        Raises: UsageError, in one line, if no candidate has a finite cost, or memory does not suffice.
        """
        trips, actor = self._begin(), self._algorithm.planning_actor(planner, cost)
        act = Planner(self._algorithm, actor, trips, self._streams.numpy("plans"))
        try:
            trips.play(act)
        except PlanError as error:
            raise UsageError(str(error)) from error
        except (RuntimeError, MemoryError) as error:
            if not is_too_large(error):
                raise
            size = f"{self._episodes} episodes × {planner.samples} samples × {planner.horizon} steps"
            size += f" × {planner.outcomes} outcomes" if planner.outcomes > 1 else ""
            raise UsageError(f"{size}: found too little memory for a plan, expected fewer of them") from error
        counted: dict[str, Any] = {"planner": planner.model_dump(), "cost": cost.model_dump(mode="json")}
        if zones:
            counted["steps_in_zones"] = trips.steps_in(zones, self._algorithm)
            counted["steps_in_zones_foreseen"] = act.steps_in(zones, trips.steps)
        self._note(describe(planner, cost), trips, counted, cost.zones)
        if self._film is None:
            with torch.no_grad():
                drawn = [
                    [self._algorithm.render(plan).amax(dim=0).numpy() for plan in plans]
                    for plans in (act.plans, act.courses)
                    if plans
                ]
            real = np.stack(trips.frames[0][: int(trips.steps[0])])
            goals = [np.broadcast_to(goal, real.shape) for goal in trips.goals[:1]]
            self._film = Film([real, *goals, *(np.stack(each[: len(real)]) for each in drawn)])

    def save(self, out: Path) -> None:
        """`table.json`, `ways.png`, `episode.gif`, and `distances.png` where goals can be placed."""
        out.mkdir(parents=True, exist_ok=True)
        table = {"protocol": self.protocol, "rows": self.rows}
        write_durably(out / TABLE_FILE, (json.dumps(table, indent=2) + "\n").encode())
        media.save_picture(out / "ways.png", Grid([np.stack(trails) for trails in self._trails]))
        if self._film:
            media.save_picture(out / "episode.png", self._film)
        if distances := self._distances():
            media.save_picture(out / "distances.png", distances)

    @torch.no_grad()
    def _distances(self) -> Grid | None:
        """Of the first episodes' goals: the goal, how far from it every place is in features, from black to white, and
        how far a critic says that it is.

        None in a game whose goals nobody can place.
        """
        environments = self._begin().environments[:SHOWN]
        goals, rows = [], []
        for environment in environments:
            if not (isinstance(environment, PlacesGoals) and (goal := environment.goal()) is not None):
                return None
            goals.append(goal)
            rows.append(self._distance_maps(environment, goal))
        return Grid([np.stack(goals), *map(np.stack, zip(*rows, strict=True))])

    def _distance_maps(self, environment: PlacesGoals, goal: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """(3, 64, 64) each, in squares of `SQUARE` pixels; green where nothing can be."""
        centres = np.arange(SQUARE / 2 - 0.5, FRAME_SIZE, SQUARE)
        there, frames = [], []
        for row, y in enumerate(centres):
            for column, x in enumerate(centres):
                with suppress(ValueError):
                    frames.append(environment.place_goal(float(x), float(y)))
                    there.append((row, column))
        features = self._algorithm.observe(torch.from_numpy(np.stack([goal, *frames])))
        found = [(features[1:] - features[0]).square().mean(dim=-1).sqrt()]
        if (critic := self._algorithm.critic) is not None and critic.has_goals:
            found.append(critic(features[1:], features[:1]).clamp(min=0.0))
        rows, columns = np.array(there).T
        maps = []
        for distances in found:
            shown = np.zeros((3, len(centres), len(centres)), np.float64)
            shown[1] = 255.0
            shown[:, rows, columns] = (255.0 * distances / distances.max().clamp(min=1e-12)).double().numpy()
            maps.append(shown.round().astype(np.uint8).repeat(SQUARE, axis=1).repeat(SQUARE, axis=2))
        return maps

    def _begin(self) -> Trips:
        keys = [self._streams.key("episode", index) for index in range(self._episodes)]
        return Trips.begin([self._trained.environment(key) for key in keys])

    def _note(self, name: str, trips: Trips, more: dict[str, Any], zones: Sequence[float] = ()) -> None:
        mean, error = float(trips.scores.mean()), float(trips.scores.std()) / sqrt(self._episodes)
        milliseconds = 1000 * trips.seconds / int(trips.steps.sum())
        row = {"name": name, "score_mean": mean, "standard_error": error, "steps_mean": float(trips.steps.mean())}
        self.rows.append({**row, "milliseconds_per_step": milliseconds, **more})
        said = f"score {mean:.2f} ± {error:.2f} | {row['steps_mean']:.1f} steps | {milliseconds:.2f} ms a step"
        if "steps_in_zones" in more:
            said += f" | {more['steps_in_zones']:.2f} steps in zones, {more['steps_in_zones_foreseen']:.2f} foreseen"
        print(f"{name:<32} {said}", flush=True)
        self._trails.append(trips.trails(zones)[:SHOWN])
