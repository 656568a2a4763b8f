"""What is wrong with stored experience, in words a person can act on."""

from __future__ import annotations

from dataclasses import dataclass

from learners.errors import RecoverableError


@dataclass(frozen=True)
class Damage:
    """One fault found in a store."""

    file: str | None
    """Path within the store's directory; None where steps are missing or doubled and no file is to blame."""
    reason: str
    missing: str = ""
    """Steps that cannot be read, in words."""

    def __str__(self) -> str:
        """One line: file, reason, missing steps."""
        file = f"{self.file}: " if self.file else ""
        return f"{file}{self.reason}" + (f"; missing: {self.missing}" if self.missing else "")


class DamagedExperienceError(RecoverableError, ValueError):
    """Experience cannot be read; `damage` says which and why, the message says it in one line."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage)
        self.damage = damage
