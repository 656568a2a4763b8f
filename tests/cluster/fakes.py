"""Classes to start as processes."""

from __future__ import annotations

import os
from threading import Event

from actors.damage import Damage, DamagedExperienceError

DAMAGE = Damage("000002/0000-0000-00.safetensors", "frames fail their CRC32", "20 steps of iteration 2")


class Worker:
    """Does, fails, hangs or dies as it is told."""

    def __init__(self, *names: str, suffix: str = "") -> None:
        self._name = "-".join(names) + suffix

    def name(self) -> str:
        return self._name

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def reject(self, found: int) -> None:
        raise ValueError(f"found {found}, expected 4")

    def find_damage(self) -> None:
        raise DamagedExperienceError(DAMAGE)

    def hang(self) -> None:
        Event().wait()

    def exit(self) -> None:
        os._exit(1)


class NeverStarts:
    """Its constructor fails."""

    def __init__(self) -> None:
        raise IndexError("tuple index out of range")

    def name(self) -> str:
        return "never"
