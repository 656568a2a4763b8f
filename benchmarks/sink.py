"""Where a collector's steps go when they are not to be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.store_index import Receipt
from learners.experience import Chunk

NOTHING = "0" * 64


@dataclass
class MemorySink:
    """Keeps what it is given until `take`."""

    chunks: list[Chunk] = field(default_factory=list)

    def write(self, collector: int, piece: int, chunks: Sequence[Chunk]) -> Receipt:
        """A receipt for nothing on any disk."""
        self.chunks += chunks
        steps, first = sum(map(len, chunks)), chunks[0]
        return Receipt(
            iteration=first.iteration,
            collector=collector,
            piece=piece,
            size=0,
            sha256=NOTHING,
            head=0,
            head_sha256=NOTHING,
            steps=steps,
            episodes=sum(each.num_episodes for each in chunks),
        )

    def take(self) -> list[Chunk]:
        """What there is, in the order of environments and time."""
        taken, self.chunks = sorted(self.chunks, key=lambda each: (each.environment, each.start)), []
        return taken
