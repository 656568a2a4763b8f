"""What can go wrong with processes, in words for the person who started the run."""

from __future__ import annotations


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message is one line: what was found, what was expected."""


class LostError(ClusterError):
    """A process, its node or what it held is gone, through no fault of the call: started anew, it may succeed."""
