"""Every action of a game has keys of its own."""

from __future__ import annotations

import pytest

from learners.action_space import Box, Discrete
from pipeline.viewer.keys import bindings, choices

CRAFTER = [
    *("noop", "move_left", "move_right", "move_up", "move_down", "do", "sleep"),
    *(f"place_{what}" for what in ("stone", "table", "furnace", "plant")),
    *(f"make_{of}_{what}" for what in ("pickaxe", "sword") for of in ("wood", "stone", "iron")),
]


def by_name(names: list[str]) -> dict[str, tuple[str, ...]]:
    return {binding.name: binding.keys for binding in bindings(names)}


def test_directions_are_arrows_and_fire_is_the_space_bar():
    assert by_name(["NOOP", "FIRE", "UP", "DOWNLEFTFIRE"]) == {
        "NOOP": (),
        "FIRE": (" ",),
        "UP": ("ArrowUp",),
        "DOWNLEFTFIRE": ("ArrowDown", "ArrowLeft", " "),
    }
    assert by_name(["LEFT", "STAY", "RIGHT"]) == {"LEFT": ("ArrowLeft",), "STAY": (), "RIGHT": ("ArrowRight",)}


def test_what_can_be_chosen_are_the_actions_or_the_ends_of_a_box():
    assert choices(Discrete(2), ("LEFT", "FIRE")) == [("LEFT", 0), ("FIRE", 1)]
    moves = {name: action.tolist() for name, action in choices(Box((-4.0, 0.0), (4.0, 2.0)), ("RIGHT", "DOWN"))}
    assert moves == {
        **{"NOOP": [0.0, 1.0], "DOWN": [0.0, 2.0], "UP": [0.0, 0.0], "RIGHT": [4.0, 1.0], "LEFT": [-4.0, 1.0]},
        **{"RIGHTDOWN": [4.0, 2.0], "RIGHTUP": [4.0, 0.0], "LEFTDOWN": [-4.0, 2.0], "LEFTUP": [-4.0, 0.0]},
    }
    assert by_name(list(moves))["LEFTUP"] == ("ArrowLeft", "ArrowUp")
    many = {name: action.tolist() for name, action in choices(Box((-1.0,) * 3, (1.0,) * 3), ("x", "y", "z"))}
    assert many["y−"] == [0.0, -1.0, 0.0]
    assert list(many) == ["NOOP", "x+", "x−", "y+", "y−", "z+", "z−"]


def test_what_no_word_places_gets_digits_and_letters():
    found = by_name(CRAFTER)
    assert (found["noop"], found["move_up"], found["do"]) == ((), ("ArrowUp",), (" ",))
    assert (found["sleep"], found["place_stone"], found["make_iron_sword"]) == (("1",), ("2",), ("q",))


def test_without_an_action_that_does_nothing_no_key_is_the_first():
    assert [(each.keys, each.action) for each in bindings(["0", "1"])] == [(("1",), 0), ((), 0), (("2",), 1)]


@pytest.mark.parametrize(
    "names", [CRAFTER, [str(i) for i in range(18)], ["UP", "UP", "UP"], [str(i) for i in range(60)]]
)
def test_no_two_actions_have_the_same_keys_and_all_have_some(names: list[str]):
    found = list(bindings(names))
    assert len({each.keys for each in found}) == len(found)
    assert {each.action for each in found} == set(range(len(names)))
    assert not {key for each in found for key in each.keys} & set("wasd")
