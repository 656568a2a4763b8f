"""What can go wrong with processes, in words for the person who started the run."""

from __future__ import annotations

from learners.errors import RecoverableError


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message is one line: what was found, what was expected."""


class GoneError(ClusterError):
    """The cluster itself is gone, and nothing more can be asked of it."""


class LostError(ClusterError, RecoverableError):
    """A process, its node or what it held is gone: started anew, it may succeed."""
