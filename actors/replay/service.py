"""The replay store as a process of its own: calls that take and give whole batches of chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actors.replay.store import ReplayStore, StoreState
from learners.directory_lock import DirectoryLock, InUseError
from learners.durable import make_directory
from learners.experience import Chunk

LOCK_TIMEOUT_S = 100.0
"""A process that outlives its killed driver or node is ended by Ray, within seconds where the machine is not busy."""


class ReplayService:
    """Durability only: who samples, mirrors the chunks. While one is open, no other process can open the store.

    Calls that change something raise InUseError if another process has come to hold the store's lock file.
    """

    def __init__(self, directory: str, run_id: str) -> None:
        """Raises ValueError, in one line, if the store cannot be opened."""
        make_directory(Path(directory))
        try:
            self._lock = DirectoryLock.to_write(Path(directory), LOCK_TIMEOUT_S)
        except InUseError as error:
            raise ValueError(f"{error}, for {LOCK_TIMEOUT_S:g} s now") from error
        try:
            self._store = ReplayStore(directory, run_id)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the store to others; the end of the process does the same."""
        self._lock.release()

    def append(self, chunks: Sequence[Chunk]) -> StoreState:
        """Makes the chunks durable, then acknowledges with the counts of the store."""
        self._lock.check()
        for chunk in chunks:
            self._store.append(chunk)
        return self._store.state()

    def read(self, first_iteration: int, last_iteration: int) -> list[Chunk]:
        """The chunks of these iterations (both included), in logical order. Raises DamagedSegmentError."""
        return list(self._store.chunks(first_iteration, last_iteration))

    def truncate(self, last_iteration: int) -> StoreState:
        """Drops the steps of all later iterations."""
        self._lock.check()
        self._store.truncate(last_iteration)
        return self._store.state()

    def steps(self) -> dict[int, int]:
        """How many steps of each iteration are stored."""
        return self._store.steps_by_iteration()

    def repair(self) -> list[str]:
        """Puts whatever is damaged into quarantine; what was wrong, a line each. The steps it held are gone."""
        self._lock.check()
        found = []
        while damage := next((each for each in self._store.verify() if each.file), None):
            self._store.quarantine(damage)
            found.append(str(damage))
        return found

    def seal(self, last_iteration: int) -> None:
        """Joins small files of iterations that no kept checkpoint precedes."""
        self._lock.check()
        self._store.seal(last_iteration)
