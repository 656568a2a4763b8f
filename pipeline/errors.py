"""Errors for the person at the keyboard."""

from __future__ import annotations


class UsageError(Exception):
    """What was asked for cannot be done; the message is one line with what was found and what was expected."""


class RunFailedError(Exception):
    """A run cannot go on, through no mistake of who started it; the message is one line with what is saved where."""
