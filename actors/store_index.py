"""Which files an iteration's experience lies in: receipts, and the chain of indices that holds them.

The index of an iteration holds the receipts of its files and the sha256 of the index before it. A commit holds that of
the newest: whoever reads walks back from there, so no index ever changes, a damaged one is known by its name, and that
of an abandoned attempt is not reached.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

FORMAT = "iris-ray experience 1"
_Count = Annotated[int, Field(ge=0, lt=2**48)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PIECE_NAME = re.compile(r"(\d{4,})-(\d{4,})-([0-9a-f]{16})\.safetensors")
INDEX_NAME = re.compile(r"index-([0-9a-f]{16})\.json")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Receipt(_Model):
    """Proof that a file of experience is on the disk."""

    iteration: Annotated[int, Field(ge=1, lt=2**48)]
    collector: _Count
    piece: _Count
    """Pieces of a collector's iteration count from 0."""
    size: _Count
    sha256: _Sha256
    head: _Count
    """Bytes before the frames …"""
    head_sha256: _Sha256
    """… and their hash."""
    steps: _Count
    episodes: _Count
    """That begin in it."""

    @property
    def file(self) -> str:
        """Path within the store: a name that is the content's, so that the same steps make the same file."""
        return f"{self.iteration:06d}/{self.collector:04d}-{self.piece:04d}-{self.sha256[:16]}.safetensors"


class Link(_Model):
    """Which index: what a commit holds of all experience."""

    iteration: Annotated[int, Field(ge=1, lt=2**48)]
    sha256: _Sha256

    @property
    def file(self) -> str:
        """Path within the store."""
        return f"{self.iteration:06d}/index-{self.sha256[:16]}.json"


class Index(_Model):
    """The files of one iteration, in the order of collector and piece."""

    run: str
    iteration: Annotated[int, Field(ge=1, lt=2**48)]
    previous: Link | None
    """Of the iteration before that collected; None in the first."""
    receipts: tuple[Receipt, ...]

    @property
    def steps(self) -> int:
        return sum(each.steps for each in self.receipts)

    @property
    def episodes(self) -> int:
        """Begun in it."""
        return sum(each.episodes for each in self.receipts)

    @property
    def content(self) -> bytes:
        """Always the same for the same index."""
        return (json.dumps({"format": FORMAT, **self.model_dump()}, sort_keys=True, indent=1) + "\n").encode()

    @property
    def link(self) -> Link:
        return Link(iteration=self.iteration, sha256=sha256(self.content).hexdigest())

    @classmethod
    def of(cls, content: bytes) -> Index:
        """Raises ValueError unless it is the content of an index."""
        body: Any = json.loads(content)
        if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
            raise ValueError(f"expected {FORMAT!r}")
        index = cls.model_validate_json(json.dumps(body))
        if any(each.iteration != index.iteration for each in index.receipts):
            raise ValueError("it names files of another iteration")
        if index.previous and index.previous.iteration >= index.iteration:
            raise ValueError("it follows a later iteration")
        return index


def lost_by_iteration(lost: Iterable[Receipt]) -> dict[int, int]:
    """Steps of each iteration, of files that are lost."""
    counts: dict[int, int] = {}
    for each in lost:
        counts[each.iteration] = counts.get(each.iteration, 0) + each.steps
    return counts
