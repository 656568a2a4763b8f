"""Crafter, made reproducible: the same seed and actions give the same frames in every process.

Source: Hafner (2021), Benchmarking the Spectrum of Agent Capabilities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import crafter
import numpy as np
from crafter import constants, engine, objects
from numpy.typing import NDArray

from actors.config import CrafterConfig
from actors.envs.environment import Step, channels_first, check_step
from actors.envs.state import pack, unpack
from learners.action_space import Discrete

_FIELDS = {"seed": int, "episode": int, "running": bool, "world": bytes}
_WORLD_FIELDS = {
    "step": int,
    "last_health": int,
    "unlocked": list,
    "num_slots": int,
    "objects": list,
    "chunks": list,
    "random": dict,
    "random_words": np.ndarray,
    "materials": np.ndarray,
}
_OWN_FIELDS: dict[type[objects.Object], tuple[str, ...]] = {
    objects.Player: (
        *("facing", "achievements", "action", "sleeping"),
        *("_last_health", "_hunger", "_thirst", "_fatigue", "_recover"),
    ),
    objects.Cow: (),
    objects.Zombie: ("cooldown",),
    objects.Skeleton: ("reload",),
    objects.Arrow: ("facing",),
    objects.Plant: ("grown",),
}
"""What an object holds besides position, inventory (its health) and, for a hunter, the player.

Crafter's seventh kind, the fence, cannot be built in its published rules.
"""
_KINDS = {cls.__name__: cls for cls in _OWN_FIELDS}


class Crafter:
    """One survivor in a 64×64 world seen through a 64×64 frame.

    Reward: change of health / 10, plus 1 in a step that unlocks any achievement for the first time in the episode.
    Every step tells how often each of the 22 achievements was reached. Death is terminated, in the very step of the
    limit too; the limit of `max_steps` alone is truncated.
    """

    def __init__(self, config: CrafterConfig, seed: int) -> None:
        self._env = _Env(size=(64, 64), reward=True, length=config.max_steps, seed=seed)
        self._running = False

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(self._env.action_names))

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(self._env.action_names)

    def reset(self) -> NDArray[np.uint8]:
        """Generates the next world, from seed and episode number alone; the first frame (3, 64, 64)."""
        frame = self._env.reset()
        self._running = True
        return channels_first(frame)

    def step(self, action: int) -> Step:
        """Raises ValueError for an action outside `action_space`, RuntimeError after the episode's end."""
        check_step(self, action, self._running)
        frame, reward, done, info = self._env.step(action)
        dead = info["discount"] == 0
        self._running = not done
        truncated, achievements = bool(done) and not dead, dict(info["achievements"])
        return Step(channels_first(frame), float(reward), dead, truncated, achievements)

    def get_state(self) -> bytes:
        return pack(
            "crafter",
            {
                "seed": self._env._seed,
                "episode": self._env._episode,
                "running": self._running,
                "world": b"" if self._env._player is None else _pack_world(self._env),
            },
        )

    def set_state(self, state: bytes) -> None:
        """Raises ValueError if `state` is not one of Crafter's."""
        fields = unpack("crafter", state, _FIELDS)
        if fields["world"]:
            _restore_world(self._env, unpack("crafter world", fields["world"], _WORLD_FIELDS))
        elif fields["running"]:
            raise ValueError("malformed crafter state: an episode is running in no world")
        else:
            self._env._player = None
        self._env._seed = fields["seed"]
        self._env._episode = fields["episode"]
        self._running = fields["running"]


class _InsertionOrderedSet(dict[Any, None]):
    """The part of `set` that crafter's chunks use, iterated in order of insertion."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


class _World(engine.World):
    """Crafter's world, whose chunks do not hash their objects by address.

    Which creature of a chunk despawns is drawn by its place in the chunk's iteration order, which for a `set` of
    objects differs between processes. Nothing else in crafter iterates over a set whose order matters.
    """

    def __init__(self) -> None:
        # As crafter.Env builds it; the names in `constants` come from a YAML file.
        super().__init__((64, 64), vars(constants)["materials"], (12, 12))

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._chunks = defaultdict(_InsertionOrderedSet)


class _Env(crafter.Env):
    """Crafter in a `_World` from the start, so that the first objects of a new world are ordered too."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.enter(_World())

    def enter(self, world: _World) -> None:
        self._world = world
        self._local_view._world = world
        self._sem_view._world = world


def _pack_world(env: _Env) -> bytes:
    """Everything a step reads. Daylight follows from `step`, the map of objects from their slots and positions."""
    world = env._world
    slots = {item: slot for slot, item in enumerate(world._objects) if item is not None}
    random = world.random.get_state(legacy=False)
    words = random["state"].pop("key")
    return pack(
        "crafter world",
        {
            "step": env._step,
            "last_health": env._last_health,
            "unlocked": sorted(env._unlocked or ()),
            "num_slots": len(world._objects),
            "objects": [_describe(item, slot) for item, slot in slots.items()],
            "chunks": [[_ints(chunk), [slots[item] for item in items]] for chunk, items in world._chunks.items()],
            "random": random,
            "random_words": words,
            "materials": world._mat_map,
        },
    )


def _describe(item: objects.Object, slot: int) -> dict[str, Any]:
    """An object as JSON. Its slot decides the order of updates; the slots of removed objects stay empty."""
    own = {name: getattr(item, name) for name in _OWN_FIELDS[type(item)]}
    if "facing" in own:
        own["facing"] = _ints(own["facing"])
    return {
        "slot": slot,
        "kind": type(item).__name__,
        "position": _ints(item.pos),
        "inventory": item.inventory,
        "own": own,
    }


def _restore_world(env: _Env, fields: dict[str, Any]) -> None:
    """Puts `env` into the packed world. Raises ValueError, and leaves `env` as it was, if the fields make no world."""
    world = _World()
    try:
        random = fields["random"]
        random["state"]["key"] = fields["random_words"]
        world.random.set_state(random)
        if fields["materials"].shape != world.area:
            raise ValueError(f"found a map of {fields['materials'].shape}, expected {world.area}")
        world._mat_map = fields["materials"]
        player = _restore_objects(world, fields["num_slots"], fields["objects"])
        for chunk, slots in fields["chunks"]:
            members = world._chunks[tuple(chunk)]  # made even if empty: it has a place in the order too
            for slot in slots:
                members.add(world._objects[slot])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"malformed crafter state: {error!r}") from error
    env.enter(world)
    env._player = player
    env._step = fields["step"]
    env._last_health = fields["last_health"]
    env._unlocked = set(fields["unlocked"])
    env._update_time()


def _restore_objects(world: _World, num_slots: int, descriptions: list[dict[str, Any]]) -> objects.Player:
    """Puts every object in its slot and on the map, not in its chunk; the player, who has the first slot of all."""
    slots: list[Any] = [None] * num_slots
    player = None
    for description in descriptions:
        cls = _KINDS[description["kind"]]
        item: Any = cls.__new__(cls)
        objects.Object.__init__(item, world, description["position"])
        item.inventory = description["inventory"]
        for name in _OWN_FIELDS[cls]:
            value = description["own"][name]
            setattr(item, name, tuple(value) if name == "facing" else value)
        if cls is objects.Player:
            player = item
        elif cls in (objects.Zombie, objects.Skeleton):
            item.player = player
        slots[description["slot"]] = item
        world._obj_map[tuple(item.pos)] = description["slot"]
    if player is None:
        raise ValueError("found no player")
    world._objects = slots
    return player


def _ints(numbers: Iterable[Any]) -> list[int]:
    return [int(number) for number in numbers]
