"""What can be chosen from in a game, and which keys of a keyboard choose it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from learners.action_space import Action, ActionSpace, Discrete

ARROWS = {"UP": "ArrowUp", "DOWN": "ArrowDown", "LEFT": "ArrowLeft", "RIGHT": "ArrowRight"}
"""W, A, S and D are the same keys."""
SPACE = " "
NOTHING = ("NOOP", "STAY", "NONE", "IDLE")
OTHERS = "1234567890qertyuiopfghjklzxcvbnm"
"""For actions that no word says where to put; neither W, A, S and D nor the keys of the page itself."""


OPPOSITES = {"RIGHT": "LEFT", "LEFT": "RIGHT", "UP": "DOWN", "DOWN": "UP"}


class Choice(NamedTuple):
    name: str
    action: Action


def choices(space: ActionSpace, names: Sequence[str]) -> list[Choice]:
    """The actions there are; in a box one in its middle, and those in which one number is as far to either side as
    its bounds allow, and of two numbers both.

    Names are those of the actions, or of the numbers: `RIGHT` is LEFT on the other side, `x` is x+ and x−.
    """
    if isinstance(space, Discrete):
        return [Choice(name, action) for action, name in enumerate(names)]
    count, bounds = len(names), np.array([space.low, space.high], np.float32)
    numbers = np.stack([bounds[0], bounds.mean(axis=0), bounds[1]])  # (3, A)
    if count == 2:
        sides = list(product((0, 1, -1), repeat=2))
    else:
        sides = [(0,) * count, *((0,) * n + (side,) + (0,) * (count - n - 1) for n in range(count) for side in (1, -1))]
    places = np.arange(count)
    return [Choice("".join(map(_side, names, each)) or NOTHING[0], numbers[np.add(each, 1), places]) for each in sides]


def _side(name: str, side: int) -> str:
    if not side:
        return ""
    if name not in OPPOSITES:
        return name + "−+"[side > 0]
    return name if side > 0 else OPPOSITES[name]


class Binding(NamedTuple):
    keys: tuple[str, ...]
    """Held together, as a browser names them; none for what is done when no key is held."""
    action: int
    name: str


def bindings(names: Sequence[str]) -> list[Binding]:
    """Of actions by their names, one each: `UPRIGHTFIRE`, `move_left`, `do`, …

    Directions are arrows, FIRE (or `do`) is the space bar, doing nothing is no key at all; what is left gets digits and
    letters, and beyond these a name that no key has: a page shows buttons, too. Without a name for doing nothing,
    holding no key repeats the first action.
    """
    found: dict[tuple[str, ...], Binding] = {}
    left = []
    for action, name in enumerate(names):
        keys = _keys_of(name)
        if keys is None or keys in found:
            left.append((action, name))
        else:
            found[keys] = Binding(keys, action, name)
    for place, (action, name) in enumerate(left):
        key = OTHERS[place] if place < len(OTHERS) else f"#{action}"
        found[(key,)] = Binding((key,), action, name)
    if () not in found:
        found[()] = Binding((), 0, names[0])
    return sorted(found.values(), key=lambda binding: binding.action)


def _keys_of(name: str) -> tuple[str, ...] | None:
    """None if the name does not say."""
    rest = name.upper().removeprefix("MOVE_")
    if rest in NOTHING:
        return ()
    if rest == "DO":
        return (SPACE,)
    if not re.fullmatch("(UP|DOWN|LEFT|RIGHT|FIRE)+", rest):
        return None
    return tuple(SPACE if word == "FIRE" else ARROWS[word] for word in re.findall("UP|DOWN|LEFT|RIGHT|FIRE", rest))
