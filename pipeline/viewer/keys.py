"""Which keys of a keyboard make which action of a game."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

ARROWS = {"UP": "ArrowUp", "DOWN": "ArrowDown", "LEFT": "ArrowLeft", "RIGHT": "ArrowRight"}
"""W, A, S and D are the same keys."""
SPACE = " "
NOTHING = ("NOOP", "STAY", "NONE", "IDLE")
OTHERS = "1234567890qertyuiopfghjklzxcvbnm"
"""For actions that no word says where to put; neither W, A, S and D nor the keys of the page itself."""


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
