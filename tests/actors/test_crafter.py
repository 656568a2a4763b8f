from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from crafter import objects

from actors.config import CrafterConfig
from actors.envs.crafter import Crafter

NOOP, PLACE_PLANT, MOVE_LEFT = 0, 10, 1


@pytest.fixture(scope="module")
def start() -> bytes:
    """A first episode just begun: generating a world takes most of a second."""
    game = Crafter(CrafterConfig(), 0)
    game.reset()
    return game.get_state()


@pytest.fixture
def game(start: bytes) -> Crafter:
    return begun(start)


def begun(start: bytes, **settings: Any) -> Crafter:
    game = Crafter(CrafterConfig(**settings), 1)
    game.set_state(start)
    return game


def player(game: Crafter) -> objects.Player:
    found = game._env._player
    assert found is not None
    return found


def random_steps(game: Crafter, num_steps: int, seed: int = 0) -> list[tuple[Any, ...]]:
    steps = []
    for action in np.random.default_rng(seed).integers(game.action_space.count, size=num_steps).tolist():
        step = game.step(action)
        steps.append((step.frame.tobytes(), step.reward, step.terminated, step.truncated))
        if step.ended:
            break
    return steps


def test_there_are_17_actions_and_the_frame_is_64_by_64(game: Crafter):
    assert game.action_space.count == len(game.action_names) == 17
    assert game.action_names[PLACE_PLANT] == "place_plant"
    frame = game.step(NOOP).frame
    assert (frame.shape, frame.dtype, frame.flags.c_contiguous) == ((3, 64, 64), np.uint8, True)


def test_the_frame_has_its_rows_from_the_top(game: Crafter):
    frame = game.step(NOOP).frame
    assert frame[:, :49].any(axis=0).mean() > 0.9  # the world: seven of nine rows of cells
    assert not frame[:, 63].any()  # 9 × 7 = 63: the last row and column stay black
    assert not frame[:, :, 63].any()


def test_death_is_terminated_and_costs_a_tenth_of_the_health_lost(game: Crafter):
    player(game).health = 0
    step = game.step(NOOP)
    assert (step.reward, step.terminated, step.truncated) == (-0.9, True, False)
    with pytest.raises(RuntimeError, match="reset"):
        game.step(NOOP)


def test_the_limit_is_truncated(start: bytes):
    game = begun(start, max_steps=3)
    ends = [(step.terminated, step.truncated) for step in (game.step(NOOP) for _ in range(3))]
    assert ends == [(False, False), (False, False), (False, True)]


def test_death_in_the_step_of_the_limit_is_terminated_only(start: bytes):
    game = begun(start, max_steps=1)
    player(game).health = 0
    step = game.step(NOOP)
    assert (step.terminated, step.truncated) == (True, False)


def test_an_achievement_is_rewarded_once_an_episode(game: Crafter):
    player(game).inventory["sapling"] = 2
    actions = NOOP, PLACE_PLANT, MOVE_LEFT, PLACE_PLANT  # on the grass below
    steps = [game.step(action) for action in actions]
    assert [step.reward for step in steps] == [0.0, 1.0, 0.0, 0.0]
    assert [step.achievements["place_plant"] for step in steps] == [0, 1, 1, 2]
    assert len(steps[-1].achievements) == 22


def test_the_same_seed_gives_the_same_episode_and_another_seed_another(game: Crafter):
    same = Crafter(CrafterConfig(), 0)
    other = Crafter(CrafterConfig(), 1)
    same.reset()
    other.reset()
    assert same.get_state() == game.get_state()
    steps = random_steps(game, 50)
    assert random_steps(same, 50) == steps
    assert same.get_state() == game.get_state()
    assert random_steps(other, 50) != steps


def test_the_creatures_of_a_chunk_are_ordered_by_arrival_not_by_address(game: Crafter):
    world = game._env._world
    chunk = world._chunks[(-12, 0, -12, 0)]  # of its own
    cows = [objects.Cow(world, (0, 0)) for _ in range(40)]
    arrivals = [cows[number] for number in np.random.default_rng(0).permutation(40)]
    for cow in arrivals:
        chunk.add(cow)
    chunk.remove(arrivals[7])
    chunk.add(arrivals[7])
    assert list(chunk) == [*arrivals[:7], *arrivals[8:], arrivals[7]]


def crowded(start: bytes) -> Crafter:
    """A night with every kind of object, a sleeper, used-up slots and an empty chunk."""
    game = begun(start)
    world = game._env._world
    x, y = (int(coordinate) for coordinate in player(game).pos)
    for item in world.objects:
        if item is not player(game) and abs(item.pos - player(game).pos).max() < 8:
            world.remove(item)
    for dx in range(-6, 7):
        for dy in range(-6, 7):
            world[x + dx, y + dy] = "path" if dx > 2 else "grass"
    plant = objects.Plant(world, (x, y - 3))
    plant.grown = 290
    world.add(plant)
    world.add(objects.Cow(world, (x - 4, y - 4)))
    zombie = objects.Zombie(world, (x - 5, y + 5), player(game))
    zombie.cooldown = 3
    world.add(zombie)
    skeleton = objects.Skeleton(world, (x + 5, y + 5), player(game))
    skeleton.reload = 2
    world.add(skeleton)
    world._chunks[(0, 12, 60, 64)]  # looked up, never filled
    player(game).inventory.update(energy=3, wood=2, sapling=1)
    game._env._step = 230  # 0.77 of a day: dark, so that drawing takes random numbers
    game.step(PLACE_PLANT)
    game.step(game.action_names.index("sleep"))
    for _ in range(6):
        game.step(NOOP)
    world.add(objects.Arrow(world, (x + 3, y - 6), np.array((0, 1))))
    game.step(NOOP)
    assert player(game).sleeping
    assert "place_plant" in (game._env._unlocked or ())
    assert isinstance(player(game)._hunger, float)
    assert {type(item) for item in world.objects} == set(objects.Object.__subclasses__()) - {objects.Fence}
    assert None in world._objects[1:]
    return game


def contents(game: Crafter) -> dict[str, Any]:
    """Every attribute of everything in the world, by value."""
    world = game._env._world

    def describe(item: Any) -> Any:
        if item is None:
            return None
        skipped = ("world", "random", "player")
        values = {name: value for name, value in vars(item).items() if name not in skipped}
        values["pos"], values["facing"] = tuple(item.pos), tuple(values.get("facing", ()))
        assert item.world is world
        assert item.random is world.random
        assert getattr(item, "player", player(game)) is player(game)
        return type(item), values

    slots = {id(item): slot for slot, item in enumerate(world._objects)}
    random = world.random.get_state(legacy=False)
    return copy.deepcopy(
        {
            "objects": [describe(item) for item in world._objects],
            "chunks": [(key, [slots[id(item)] for item in chunk]) for key, chunk in world._chunks.items()],
            "maps": (world._mat_map.tobytes(), world._obj_map.tobytes(), world._obj_map.dtype, world._mat_map.dtype),
            "random": (random["state"]["key"].tobytes(), random["state"]["pos"]),
            "env": (game._env._step, game._env._episode, game._env._last_health, game._env._unlocked, game._env._seed),
            "daylight": world.daylight,
        }
    )


def test_a_restored_world_equals_the_saved_one_in_every_attribute(start: bytes):
    game = crowded(start)
    restored = Crafter(CrafterConfig(), 9)
    restored.set_state(game.get_state())
    assert contents(restored) == contents(game)
    assert restored.get_state() == game.get_state()
    shown = restored._env._sem_view() != restored._env._world._mat_map
    assert shown.sum() == len(game._env._world.objects)
    assert random_steps(restored, 60) == random_steps(game, 60)
    assert contents(restored) == contents(game)


def test_a_restored_world_is_a_copy(start: bytes):
    game, restored = begun(start), begun(start)
    state = game.get_state()
    random_steps(game, 20)
    assert restored.get_state() == state
    assert begun(state).get_state() == state


def test_a_restored_episode_has_reached_what_it_had_reached(start: bytes):
    game = begun(start)
    player(game).inventory["sapling"] = 1
    game.step(PLACE_PLANT)
    achievements = begun(game.get_state()).step(NOOP).achievements
    assert achievements == game.step(NOOP).achievements
    assert achievements["place_plant"] == 1


def test_between_episodes_the_state_keeps_the_seed_and_the_episode(start: bytes):
    game = begun(start, max_steps=2)
    game.step(NOOP)
    game.step(NOOP)
    restored = Crafter(CrafterConfig(), 7)
    restored.set_state(game.get_state())
    with pytest.raises(RuntimeError, match="reset"):
        restored.step(NOOP)
    np.testing.assert_array_equal(restored.reset(), game.reset())
    fresh = Crafter(CrafterConfig(), 3)
    restored.set_state(fresh.get_state())
    assert restored.get_state() == fresh.get_state()


def test_unknown_actions_are_refused(game: Crafter):
    with pytest.raises(ValueError, match=r"found 17, expected 0\.\.16"):
        game.step(17)
