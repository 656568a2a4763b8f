"""Bounded waiting for processes: every wait says what it waits for."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from cluster.errors import ClusterError


def wait(reference: Any, what: str, timeout_s: float) -> Any:
    """The value of a reference, or of a list of references.

    Raises: ClusterError if it did not come in time or its process died; what the call itself raised, if it did.
    """
    try:
        return ray.get(reference, timeout=timeout_s)
    except GetTimeoutError as error:
        raise ClusterError(f"waited {timeout_s:g} s for {what} in vain") from error
    except RayTaskError as error:
        # Ray raises a subclass of the call's own exception whose text is a traceback; `from` keeps that for a bug.
        raise error.cause from error
    except RayActorError as error:
        raise ClusterError(f"the process died that was to do: {what} ({_reason(error)})") from error
    except RayError as error:
        raise ClusterError(f"lost: {what} ({type(error).__name__}: {_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Ray's last line: what raised in a constructor, or how a process ended; before it come ids and tracebacks."""
    return shorten(str(error).strip().rpartition("\n")[2], 200, placeholder=" …")
