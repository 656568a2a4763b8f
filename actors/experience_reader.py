"""Experience as a learner asks for it: rows of frames from a run's files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actors.store import VISIBLE_WITHIN_S, Piece, ReplayStore, in_order
from actors.store_index import Receipt
from learners.experience import FRAME_SHAPE, Chunk


class ExperienceReader:
    """What `learners.columns.Experience` asks for. A group of frames is read, checked and decompressed as a whole."""

    def __init__(self, store: ReplayStore) -> None:
        self._store = store
        self._num_rows = 1
        self._pieces: list[Piece] = []
        self._firsts = [np.empty(0, dtype=np.int64)]  # first row of each group, (G,) in all
        self._groups = [np.empty((0, 2), dtype=np.int64)]  # index of its piece, and of the group in it, (G, 2) in all

    def steps(self, receipts: Sequence[Receipt], *, with_frames: bool) -> Iterator[Chunk]:
        if with_frames:
            yield from self._store.chunks(receipts, patience_s=VISIBLE_WITHIN_S)
            return
        pieces = [self._store.piece(each, whole=False, patience_s=VISIBLE_WITHIN_S) for each in receipts]
        numbers = {id(piece): number for number, piece in enumerate(pieces, len(self._pieces))}
        self._pieces += pieces
        for piece, first, stop in in_order(pieces):
            counts = piece.head.groups["count"][first:stop]
            ends = self._num_rows + np.cumsum(counts)
            self._firsts.append(ends - counts)
            self._groups.append(np.stack([np.full(len(counts), numbers[id(piece)]), np.arange(first, stop)], axis=1))
            self._num_rows = int(ends[-1])
            yield piece.chunk_without_frames(first, stop)
        for piece in pieces:
            piece.forget_steps()

    def truncate(self, num_rows: int) -> None:
        firsts, groups = self._table()
        kept = firsts <= num_rows
        self._firsts, self._groups, self._num_rows = [firsts[kept]], [groups[kept]], num_rows + 1
        del self._pieces[1 + int(groups[kept, 0].max(initial=-1)) :]

    def frames(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        found = np.empty((len(rows), *FRAME_SHAPE), dtype=np.uint8)
        found[rows == 0] = 0
        firsts, groups = self._table()
        real = np.flatnonzero(rows)
        which = np.searchsorted(firsts, rows[real], side="right") - 1
        order = np.argsort(which, kind="stable")
        needed, begins = np.unique(which[order], return_index=True)  # groups, in their order
        pieces, within = groups[needed].T  # (G,) each: the piece of a group, and its index there
        breaks = np.flatnonzero((np.diff(needed) > 1) | (np.diff(pieces) != 0)) + 1

        def read(first: int, stop: int) -> None:
            """Groups that follow each other in a piece."""
            frames = self._pieces[pieces[first]].frames(int(within[first]), 1 + int(within[stop - 1]))
            where = real[order[begins[first] : begins[stop] if stop < len(begins) else None]]
            places = rows[where] - firsts[needed[first]]
            if (np.diff(where) == 1).all() and (np.diff(places) == 1).all():  # a stretch, which takes one pass
                found[where[0] : where[-1] + 1] = frames[places[0] : places[-1] + 1]
            else:
                found[where] = frames[places]

        stretches = [0, *breaks.tolist()], [*breaks.tolist(), len(needed)]
        list(self._pool.map(read, *stretches) if len(needed) else ())
        return found

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Made where frames are read: a reader travels to its process before."""
        return ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))))

    def _table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First row (G,), and piece and group (G, 2), of every group."""
        if len(self._firsts) > 1:
            self._firsts, self._groups = [np.concatenate(self._firsts)], [np.concatenate(self._groups)]
        return self._firsts[0], self._groups[0]
