"""The replay store as a process of its own: calls that take and give whole batches of chunks."""

from __future__ import annotations

from collections.abc import Sequence

from actors.replay.store import ReplayStore, StoreState
from learners.experience import Chunk


class ReplayService:
    """Durability only: who samples, mirrors the chunks."""

    def __init__(self, directory: str, run_id: str) -> None:
        self._store = ReplayStore(directory, run_id)

    def append(self, chunks: Sequence[Chunk]) -> StoreState:
        """Makes the chunks durable, then acknowledges with the counts of the store."""
        for chunk in chunks:
            self._store.append(chunk)
        return self._store.state()

    def read(self, first_iteration: int, last_iteration: int) -> list[Chunk]:
        """The chunks of these iterations (both included), in logical order. Raises DamagedSegmentError."""
        return list(self._store.chunks(first_iteration, last_iteration))

    def truncate(self, last_iteration: int) -> StoreState:
        """Drops the steps of all later iterations."""
        self._store.truncate(last_iteration)
        return self._store.state()

    def seal(self, last_iteration: int) -> None:
        """Joins small files of iterations that no kept checkpoint precedes."""
        self._store.seal(last_iteration)
