"""Episodes of rooms in which, once, something happens that cannot: to see whether a world model is surprised.

Source: the violations follow IntPhys (Riochet et al. 2022), for a world of one dot.

Legend: T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from actors.config import RoomsConfig
from actors.envs.rooms import Layout, Rooms, is_free, move

Tampering = Literal["teleport", "vanish", "wall", "reversed", "frozen"]
TAMPERINGS: tuple[Tampering, ...] = get_args(Tampering)
FAR = 12.0
"""Pixels that a teleport leads away at least."""


@dataclass(frozen=True)
class Episode:
    frames: NDArray[np.uint8]  # (T + 1, 3, 64, 64)
    actions: NDArray[np.float32]  # (T, 2)
    step: int
    """In which it was tampered with: what happens between frames `step` and `step` + 1."""


def play(config: RoomsConfig, steps: int, generator: np.random.Generator, tampering: Tampering | None) -> Episode:
    """A walk of so many steps; one of them is another than its action says, and the walk goes on from there.

    The dot teleports somewhere else; is not to be seen; passes through a wall; moves the opposite way; stays although
    it could move. What is to be seen of an episode before that step is that of an intact one.
    """
    env = Rooms(config, int(generator.integers(2**63)), evaluation=False)
    while True:
        env.reset()
        layout = env.layout
        positions, actions = [env.position], []
        chosen = int(generator.integers(1, steps - 1))
        angle = generator.uniform(-np.pi, np.pi)
        for step in range(steps):
            angle += generator.normal(0.0, 0.4)
            if np.array_equal(positions[-1], positions[max(0, step - 1)]):
                angle = generator.uniform(-np.pi, np.pi)
            length = layout.reach * (0.5 + 0.5 * generator.random())
            if step == chosen and tampering == "wall":
                angle, length = (0.0 if positions[-1][0] < layout.walls[0].x else np.pi), layout.reach
            action = np.array([length * np.cos(angle), length * np.sin(angle)], np.float32)
            honest = move(layout, positions[-1], action.astype(np.float64))
            there = honest if step != chosen else _tamper(layout, tampering, positions[-1], action, honest, generator)
            if there is None:
                break
            positions.append(there)
            actions.append(action)
        else:
            frames = np.stack([env.draw(position) for position in positions])
            if tampering == "vanish":
                frames[chosen + 1, 0] = 0
            return Episode(frames, np.stack(actions), chosen)


def _tamper(
    layout: Layout,
    tampering: Tampering | None,
    position: NDArray[np.float64],
    action: NDArray[np.float32],
    honest: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.float64] | None:
    """Where the dot is instead; None if there is nothing to be seen of it here."""
    moved = np.linalg.norm(honest - position) > 0.9 * np.linalg.norm(action)
    if tampering == "teleport":
        there = generator.uniform(layout.low, layout.high, 2)
        return there if is_free(layout, there) and np.linalg.norm(there - position) > FAR else None
    if tampering == "wall":
        wall = layout.walls[0]
        behind = np.array([2 * wall.x - position[0], position[1]])
        near = abs(position[0] - wall.x) < layout.half_width + layout.reach
        return behind if near and abs(position[1] - wall.door) > layout.half_door + 1.0 else None
    if tampering == "reversed":
        there = move(layout, position, -action.astype(np.float64))
        return there if moved and np.linalg.norm(there - position) > 0.9 * np.linalg.norm(action) else None
    if tampering == "frozen":
        return position if moved else None
    return honest
