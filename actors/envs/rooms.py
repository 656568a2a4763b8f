"""Rooms: a dot moves between walls with doors. In evaluation it is to reach a place that a second picture shows.

Source: the layouts follow the two rooms of PLDM (Sobal et al. 2025, "Learning from Reward-Free Offline Data").

Legend: positions (x, y) in pixels of a frame of 64, x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actors.config import RoomsConfig
from actors.envs.environment import Step, check_step
from actors.envs.state import pack, restore_generator, unpack
from learners.action_space import Action, Box
from learners.config import FRAME_SIZE

SUB_STEPS = 4
"""Of a move, each of at most a pixel or so: none jumps through a wall."""
NEAR_A_DOOR = 8.0
"""Pixels to either side of the wall, for the training episodes that start there."""
FARTHEST = 6.0
"""Pixels that a random wall stands from its place at most."""
_FIELDS = {
    "layout": str,
    "walls": np.ndarray,
    "position": np.ndarray,
    "goal": np.ndarray,
    "steps": int,
    "running": bool,
    "drawn": dict,
}


@dataclass(frozen=True)
class Wall:
    """Vertical, from border to border but for its door."""

    x: float
    """Of its middle."""
    door: float
    """y of the door's middle."""


@dataclass(frozen=True)
class Layout:
    walls: tuple[Wall, ...]
    """From left to right."""
    half_width: float
    """Of a wall, as far as the dot's middle is kept away from its middle."""
    half_door: float
    """As far from the door's middle as the dot's middle passes."""
    low: float
    high: float
    """Where the dot's middle may be, on both axes."""
    reach: float
    """Of one move; longer ones are shortened to it."""
    sigma: float
    """Of the dot, which is a Gaussian."""


LAYOUTS = {
    "two_rooms": Layout((Wall(32, 16),), 2.5, 5.0, 4.0, 59.0, 4.0, 1.6),
    "three_rooms": Layout((Wall(21, 16), Wall(42, 47)), 2.5, 5.0, 4.0, 59.0, 4.0, 1.6),
    "pldm": Layout((Wall(32 * 64 / 65, 10 * 64 / 65),), 1.5, 4.0 * 64 / 65, 5.0, 58.0, 2.45 * 64 / 65, 1.3),
}


class Rooms:
    """One dot. An action is a move (right, down) in pixels.

    A move is made in four equal parts, of which each axis is blocked on its own: the dot slides along walls. Training
    episodes start anywhere, or near a door, and are truncated after their steps, without rewards. Evaluation episodes
    start in the first or the last room and have their goal in the other one; reaching it is terminated with reward 1,
    so that the mean score is the rate of success. A move may be lost, or happen twice.
    """

    action_names = ("RIGHT", "DOWN")

    def __init__(self, config: RoomsConfig, seed: int, *, evaluation: bool) -> None:
        self._config = config
        self._layout = LAYOUTS[config.layout]  # of this episode
        self._is_evaluation = evaluation
        reach = self._layout.reach
        self.action_space = Box((-reach, -reach), (reach, reach))
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._position = np.zeros(2)
        self._goal = np.full(2, np.nan)
        self._steps = 0
        self._running = False
        self._walls = _draw_walls(self._layout)

    def reset(self) -> NDArray[np.uint8]:
        """Starts the next episode; its first frame (3, 64, 64)."""
        if self._config.walls == "random":
            self._build(self._random_walls())
        rooms = len(self._layout.walls) + 1
        if self._is_evaluation:
            start, end = (0, rooms - 1) if self._generator.random() < 0.5 else (rooms - 1, 0)
            self._position, self._goal = self._anywhere_in(start), self._anywhere_in(end)
        elif self._generator.random() < self._config.door_starts:
            wall = self._layout.walls[int(self._generator.integers(len(self._layout.walls)))]
            offset = self._generator.uniform(
                (-NEAR_A_DOOR, -self._layout.half_door), (NEAR_A_DOOR, self._layout.half_door)
            )
            self._position = np.array([wall.x, wall.door]) + offset
        else:
            self._position = self._anywhere_in(int(self._generator.integers(rooms)))
        self._steps, self._running = 0, True
        return self.draw(self._position)

    def step(self, action: Action) -> Step:
        """Raises ValueError for an action outside `action_space`, RuntimeError after the episode's end."""
        check_step(self, action, self._running)
        for _ in range(self._times()):
            self._position = move(self._layout, self._position, np.asarray(action, np.float64))
        self._steps += 1
        config = self._config
        is_last = self._steps >= (config.evaluation_steps if self._is_evaluation else config.training_steps)
        is_there = bool(np.linalg.norm(self._position - self._goal) < config.radius)  # False of no goal, which is nan
        succeeds = is_there and (is_last or config.success == "ever")
        self._running = not (succeeds or is_last)
        return Step(self.draw(self._position), float(succeeds), terminated=succeeds, truncated=is_last and not succeeds)

    def _times(self) -> int:
        """That a move happens: once, but where it slips."""
        lost, doubled = self._config.lost, self._config.doubled
        drawn = self._generator.random() if lost or doubled else 1.0
        return 0 if drawn < lost else 2 if drawn < lost + doubled else 1

    def goal(self) -> NDArray[np.uint8] | None:
        """The frame (3, 64, 64) with the dot where it is to go; None in training."""
        return None if np.isnan(self._goal).any() else self.draw(self._goal)

    def place_goal(self, x: float, y: float) -> NDArray[np.uint8]:
        """Raises ValueError in a wall and outside."""
        there = np.array([x, y])
        if not is_free(self._layout, there):
            raise ValueError(f"goal: found a wall at ({x:.0f}, {y:.0f}), expected a place where the dot can be")
        self._goal = there
        return self.draw(there)

    @property
    def layout(self) -> Layout:
        """Of the running episode."""
        return self._layout

    @property
    def position(self) -> NDArray[np.float64]:
        """(2,), of the dot's middle."""
        return self._position

    def draw(self, position: NDArray[np.float64]) -> NDArray[np.uint8]:
        """(3, 64, 64): the dot red, the walls green."""
        pixels = np.arange(FRAME_SIZE)
        x, y = np.exp(-0.5 * ((pixels - position[:, None]) / self._layout.sigma) ** 2)
        return np.stack([np.rint(255.0 * np.outer(y, x)).astype(np.uint8), self._walls, np.zeros_like(self._walls)])

    def get_state(self) -> bytes:
        return pack(
            "rooms",
            {
                "layout": self._config.layout,
                "walls": np.array([(wall.x, wall.door) for wall in self._layout.walls], np.float64),
                "position": self._position,
                "goal": self._goal,
                "steps": self._steps,
                "running": self._running,
                "drawn": self._generator.bit_generator.state,
            },
        )

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is not one of this layout."""
        fields = unpack("rooms", state, _FIELDS)
        if fields["layout"] != self._config.layout:
            raise ValueError(f"state of another layout: found {fields['layout']}, expected {self._config.layout}")
        for name in ("position", "goal"):
            if fields[name].shape != (2,) or fields[name].dtype != np.float64:
                raise ValueError(f"malformed rooms state: found {name} {fields[name].dtype} {fields[name].shape}")
        if (walls := fields["walls"]).shape != (len(self._layout.walls), 2) or walls.dtype != np.float64:
            raise ValueError(f"malformed rooms state: found walls {walls.dtype} {walls.shape}")
        self._build(tuple(Wall(x, door) for x, door in walls.tolist()))
        self._generator = restore_generator(fields["drawn"])
        self._position, self._goal = fields["position"], fields["goal"]
        self._steps, self._running = fields["steps"], fields["running"]

    def _build(self, walls: tuple[Wall, ...]) -> None:
        self._layout = replace(self._layout, walls=walls)
        self._walls = _draw_walls(self._layout)

    def _random_walls(self) -> tuple[Wall, ...]:
        layout = LAYOUTS[self._config.layout]
        low, high = layout.low + layout.half_door, layout.high - layout.half_door
        return tuple(
            Wall(wall.x + self._generator.uniform(-FARTHEST, FARTHEST), self._generator.uniform(low, high))
            for wall in layout.walls
        )

    def _anywhere_in(self, room: int) -> NDArray[np.float64]:
        """Uniformly, clear of the walls."""
        layout, walls = self._layout, self._layout.walls
        left = walls[room - 1].x + layout.half_width if room else layout.low
        right = walls[room].x - layout.half_width if room < len(walls) else layout.high
        return self._generator.uniform((left, layout.low), (right, layout.high))


def move(layout: Layout, position: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a dot at `position` (2,) comes to."""
    part = by * min(1.0, layout.reach / max(float(np.linalg.norm(by)), 1e-9)) / SUB_STEPS
    for _ in range(SUB_STEPS):
        for axis in range(2):
            tried = position.copy()
            tried[axis] += part[axis]
            if is_free(layout, tried):
                position = tried
    return position


def is_free(layout: Layout, position: NDArray[np.float64]) -> bool:
    """Whether the dot's middle may be at a position (2,)."""
    x, y = position
    return bool(layout.low <= min(x, y) and max(x, y) <= layout.high) and not any(
        abs(x - wall.x) < layout.half_width and abs(y - wall.door) > layout.half_door for wall in layout.walls
    )


def _draw_walls(layout: Layout) -> NDArray[np.uint8]:
    """(64, 64): lines at the borders, and the walls, a pixel narrower on each side than what the dot's middle meets."""
    picture = np.zeros((FRAME_SIZE, FRAME_SIZE), np.uint8)
    near, far = round(layout.low) - 1, round(layout.high) + 1
    picture[[near, far], near : far + 1] = picture[near : far + 1, [near, far]] = 255
    pixels = np.arange(FRAME_SIZE)
    inside = (pixels > near) & (pixels < far)
    for wall in layout.walls:
        columns, rows = abs(pixels - wall.x) < layout.half_width - 0.5, abs(pixels - wall.door) > layout.half_door + 1.0
        picture[np.outer(rows & inside, columns)] = 255
    return picture
