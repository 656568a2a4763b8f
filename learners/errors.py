"""What can be wrong with an algorithm, in words for who writes it."""

from __future__ import annotations


class AlgorithmError(Exception):
    """It does not keep to what it has said of itself, or to what `learners/algorithm.py` asks; in one line."""
