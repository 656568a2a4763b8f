"""Reads a store from end to end and lists what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.replay.damage import Damage, DamagedSegmentError, Span
from actors.replay.manifest import Entry
from actors.replay.rows import ROW
from actors.replay.segment_file import SegmentFile

_UNKNOWN = -1
"""Episode of steps that are known to exist but cannot be read."""
_STRETCH = np.dtype(
    [(name, "<i8") for name in ("environment", "iteration", "start", "count", "episode", "episode_step")]
    + [("has_ended", "?"), ("ends_early", "?")]
)
"""Consecutive steps of one episode; the order of the first three fields is the order in which an environment lived."""


def audit(
    directory: Path, run_id: str, entries: Sequence[Entry], unreadable: Sequence[Span], incomplete: Collection[int]
) -> list[Damage]:
    """Checks every file's hash, every row and its frames, and that steps and episodes are contiguous.

    Args:
        unreadable: steps already known to be lost, which are not reported again.
        incomplete: iterations in which steps may be missing.

    Returns: damaged files first, then gaps and doubles that no file is to blame for.
    """
    damage: list[Damage] = []
    stretches = [_lost(unreadable)]
    for entry in entries:
        try:
            segment = SegmentFile(directory, run_id, entry)
            for row in range(len(segment.rows)):
                segment.frames(row)
            stretches.append(_stretches(segment.rows))
        except DamagedSegmentError as error:
            damage.append(error.damage)
            stretches.append(_lost(entry.spans))
    return [*damage, *_discontinuities(np.concatenate(stretches), incomplete)]


def _stretches(rows: NDArray[np.void]) -> NDArray[np.void]:
    ended = (rows["terminated"] | rows["truncated"]).astype(np.bool_)  # (R, S)
    last = rows["count"] - 1
    found = np.zeros(len(rows), _STRETCH)
    for name in ("environment", "iteration", "start", "count", "episode", "episode_step"):
        found[name] = rows[name]
    found["has_ended"] = ended[np.arange(len(rows)), last]
    found["ends_early"] = (ended & (np.arange(ROW["actions"].shape[0]) < last[:, None])).any(axis=1)
    return found


def _lost(spans: Sequence[Span]) -> NDArray[np.void]:
    lost = np.zeros(len(spans), _STRETCH)
    for row, span in zip(lost, spans, strict=True):
        row["iteration"], row["environment"], row["start"], row["count"] = span
        row["episode"] = _UNKNOWN
    return lost


def _discontinuities(stretches: NDArray[np.void], incomplete: Collection[int]) -> Iterator[Damage]:
    """Steps count up from 0 in every iteration of an environment, episodes from 0 until they end."""
    stretches = np.sort(stretches, order=("environment", "iteration", "start", "count"))
    owners: dict[int, int] = {}
    before: np.void | None = None
    for now in stretches:
        environment, iteration, start, count, episode, episode_step, _, ends_early = now.tolist()
        place = f"iteration {iteration}, environment {environment}"
        if before is not None and before["environment"] != environment:
            before = None
        expected = 0
        if before is not None and before["iteration"] == iteration:
            expected = int(before["start"] + before["count"])
        first = int(before["iteration"]) if before is not None else 0
        may_have_gap = any(first <= index <= iteration for index in incomplete)
        if start > expected and not may_have_gap:
            missing = (Span(iteration, environment, expected, start - expected),)
            yield Damage(None, f"{place}: no file holds steps {expected}-{start - 1}", missing)
        elif start < expected:
            yield Damage(None, f"{place}: steps {start}-{min(start + count, expected) - 1} are stored twice", ())
            if start + count <= expected:
                continue
        elif episode != _UNKNOWN:
            if ends_early or not (may_have_gap or _follows(before, now)):
                came = _last_step(before) if before is not None else "nothing"
                yield Damage(None, f"{place}, step {start}: episode {episode} step {episode_step} follows {came}", ())
            if owners.setdefault(episode, environment) != environment:
                other = owners[episode]
                yield Damage(None, f"{place}, step {start}: episode {episode} is environment {other}'s already", ())
        before = now


def _follows(before: np.void | None, now: np.void) -> bool:
    if before is None:
        return bool(now["episode_step"] == 0)
    if before["episode"] == _UNKNOWN:
        return True
    if before["episode"] == now["episode"]:
        return bool(not before["has_ended"] and now["episode_step"] == before["episode_step"] + before["count"])
    return bool(now["episode"] > before["episode"] and now["episode_step"] == 0)


def _last_step(stretch: np.void) -> str:
    end = ", its end" if stretch["has_ended"] else ""
    return f"episode {stretch['episode']} step {stretch['episode_step'] + stretch['count'] - 1}{end}"
