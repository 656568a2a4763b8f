"""Errors for the person at the keyboard."""

from __future__ import annotations

from pydantic import ValidationError


class UsageError(Exception):
    """What was asked for cannot be done; the message is one line with what was found and what was expected."""


class RunFailedError(Exception):
    """A run cannot go on, through no mistake of who started it; the message is one line with what is saved where."""


def first_mistake(error: ValidationError) -> str:
    """Where it is, and what is expected there."""
    first = error.errors()[0]
    return ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")]))
