"""What can go wrong in learning, in words for who runs it and for who writes an algorithm."""

from __future__ import annotations


class AlgorithmError(Exception):
    """It does not keep to what it has said of itself, or to what `learners/algorithm.py` asks; in one line."""


class RecoverableError(Exception):
    """Something that a run needs is gone, through no fault of the call: it can go on from its last commit."""
