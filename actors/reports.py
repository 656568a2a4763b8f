"""What those who act tell of episodes, in numbers alone: whoever reads it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CollectionReport:
    """What happened in one iteration of one collector; an episode of the store may be one life of a game."""

    episode_returns: tuple[float, ...]
    """Of the episodes that ended in this iteration, in the game's own units."""
    episode_lengths: tuple[int, ...]
    """Agent steps."""
    episode_achievements: tuple[Mapping[str, int], ...]
    """How often each was reached; empty in games that count none."""


@dataclass(frozen=True)
class EpisodeScore:
    episode: int
    """Index within the evaluation."""
    score: float
    """Sum of rewards, in the game's own units."""
    length: int
    """Agent steps."""
