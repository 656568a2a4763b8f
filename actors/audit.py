"""Reads all experience from end to end and lists what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from actors.damage import Damage, DamagedExperienceError
from actors.store import ReplayStore
from actors.store_file import Head
from actors.store_index import Index, Receipt

_STRETCH = np.dtype(
    [(name, "<i8") for name in ("environment", "iteration", "start", "count", "episode", "episode_step")]
    + [("has_ended", "?")]
)
"""Consecutive steps of one episode; the order of the first three fields is the order in which an environment lived."""


def audit(store: ReplayStore, history: Sequence[Index], lost: Collection[Receipt] = ()) -> list[Damage]:
    """Checks every file's hash, every group's frames, and that steps and episodes are contiguous.

    Args:
        lost: files that are known to be gone.

    Returns: damaged files first, then gaps and doubles that no file is to blame for.
    """
    damage: list[Damage] = []
    stretches = [np.zeros(0, _STRETCH)]
    incomplete = {each.iteration for each in lost}
    for index in history:
        for receipt in index.receipts:
            if receipt in lost:
                continue
            try:
                piece = store.piece(receipt, whole=True)
                for group in range(len(piece.head.groups)):
                    piece.frames(group, group + 1)
                stretches.append(_stretches(piece.head))
            except DamagedExperienceError as error:
                damage.append(error.damage)
                incomplete.add(receipt.iteration)
    return [*damage, *_discontinuities(np.concatenate(stretches), incomplete)]


def _stretches(head: Head) -> NDArray[np.void]:
    groups = head.groups
    found = np.zeros(len(groups), _STRETCH)
    for name in ("environment", "start", "count", "episode", "episode_step"):
        found[name] = groups[name]
    found["iteration"] = head.iteration
    found["has_ended"] = (head.steps["terminated"] | head.steps["truncated"])[groups["count"].cumsum() - 1]
    return found


def _discontinuities(stretches: NDArray[np.void], incomplete: Collection[int]) -> Iterator[Damage]:
    """Steps count up from 0 in every iteration of an environment, episodes from 0 until they end."""
    owners: dict[int, int] = {}
    before: np.void | None = None
    for now in np.sort(stretches, order=("environment", "iteration", "start", "count")):
        environment, iteration, start, count, episode, episode_step, _ = now.tolist()
        place = f"iteration {iteration}, environment {environment}"
        if before is not None and before["environment"] != environment:
            before = None
        expected = 0
        if before is not None and before["iteration"] == iteration:
            expected = int(before["start"] + before["count"])
        first = int(before["iteration"]) if before is not None else 0
        may_have_gap = any(first <= each <= iteration for each in incomplete)
        if start > expected and not may_have_gap:
            yield Damage(None, f"{place}: no file holds steps {expected}-{start - 1}")
        elif start < expected:
            yield Damage(None, f"{place}: steps {start}-{min(start + count, expected) - 1} are stored twice")
            if start + count <= expected:
                continue
        else:
            if not (may_have_gap or _follows(before, now)):
                came = _last_step(before) if before is not None else "nothing"
                yield Damage(None, f"{place}, step {start}: episode {episode} step {episode_step} follows {came}")
            if owners.setdefault(episode, environment) != environment:
                other = owners[episode]
                yield Damage(None, f"{place}, step {start}: episode {episode} is environment {other}'s already")
        before = now


def _follows(before: np.void | None, now: np.void) -> bool:
    if before is None:
        return bool(now["episode_step"] == 0)
    if before["episode"] == now["episode"]:
        return bool(not before["has_ended"] and now["episode_step"] == before["episode_step"] + before["count"])
    return bool(now["episode"] > before["episode"] and now["episode_step"] == 0)


def _last_step(stretch: np.void) -> str:
    end = ", its end" if stretch["has_ended"] else ""
    return f"episode {stretch['episode']} step {stretch['episode_step'] + stretch['count'] - 1}{end}"
