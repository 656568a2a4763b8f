"""Bounded waiting for processes: every wait says what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
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
        raise ClusterError(f"waited {timeout_s:.0f} s for {what} in vain") from error
    except RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except RayActorError as error:
        raise ClusterError(f"the process died that was to do: {what} ({_first_line(error)})") from error
    except RayError as error:
        raise ClusterError(f"lost: {what} ({type(error).__name__}: {_first_line(error)})") from error


def kill(actors: Sequence[Any]) -> None:
    """Ends the actors at once; they must hold nothing that is not on disk."""
    for actor in actors:
        ray.kill(actor)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
