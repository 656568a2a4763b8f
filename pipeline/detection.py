"""Tampered episodes, told from intact ones by the surprise of a world model.

Legend: E episodes, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from actors.config import RoomsConfig
from actors.envs.tampered_rooms import TAMPERINGS, Episode, Tampering, play
from learners.algorithm import AgentConfig
from learners.inspection import Chart, Panel
from learners.planning.plans import Plans
from learners.planning.surprise import area_under_curve, surprise
from learners.streams import Streams
from pipeline.errors import UsageError
from pipeline.trained import Trained

AROUND = 4
"""Steps before and after the one that was tampered with, in the chart."""


@dataclass(frozen=True)
class Measured:
    """Of E episodes."""

    surprise: NDArray[np.float64]  # (E, T)
    change: NDArray[np.float64]  # (E, T)

    @classmethod
    def of(cls, algorithm: Plans, episodes: Sequence[Episode]) -> Measured:
        pairs = [
            surprise(algorithm, torch.from_numpy(each.frames), torch.from_numpy(each.actions)) for each in episodes
        ]
        wrong, changed = (torch.stack(each).double().numpy() for each in zip(*pairs, strict=True))
        return cls(wrong, changed)


@dataclass(frozen=True)
class Detection:
    areas: Mapping[Tampering, Mapping[str, float]]
    """Under the curve: of the surprise and of the change of the trained network, and of one that has learnt nothing."""
    chart: Chart


def detect(trained: Trained, algorithm: Plans, episodes: int, steps: int, seed: int) -> Detection:
    """Raises UsageError, in one line, where nobody says what cannot be."""
    env = trained.config.env
    if not isinstance(env, RoomsConfig):
        raise UsageError(f"{env.kind}: found a game of which nobody says what cannot be, expected rooms")
    if env.lost or env.doubled:
        raise UsageError("rooms: found moves that slip, expected none (env.lost and env.doubled 0): so much can be")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = AgentConfig(trained.config.algorithm, trained.game.action_space).build()
    assert isinstance(untrained, Plans)
    for part in untrained.parts:
        part.module.eval()
    generator = Streams(seed).numpy("tampering")
    networks = {"trained": algorithm, "untrained": untrained}
    intact_episodes = [play(env, steps, generator, None) for _ in range(episodes)]
    intact = {name: Measured.of(each, intact_episodes) for name, each in networks.items()}
    areas, panels = {}, []
    for kind in TAMPERINGS:
        tampered_episodes = [play(env, steps, generator, kind) for _ in range(episodes)]
        tampered = {name: Measured.of(each, tampered_episodes) for name, each in networks.items()}
        areas[kind] = {
            f"{what}, {name}": area_under_curve(
                getattr(tampered[name], what).max(axis=1), getattr(intact[name], what).max(axis=1)
            )
            for name in networks
            for what in ("surprise", "change")
        }
        panels.append(_panel(kind, tampered_episodes, tampered["trained"].surprise, intact["trained"].surprise))
    return Detection(areas, Chart(panels))


def _panel(kind: str, episodes: Sequence[Episode], tampered: NDArray[np.float64], intact: NDArray[np.float64]) -> Panel:
    """Mean surprise around the step that was tampered with, in units of what is usual in an intact one."""
    usual, window = np.median(intact), np.full((len(episodes), 2 * AROUND + 1), np.nan)
    for row, episode, values in zip(window, episodes, tampered, strict=True):
        for place, step in enumerate(range(episode.step - AROUND, episode.step + AROUND + 1)):
            if 0 <= step < len(values):
                row[place] = values[step] / usual
    known = np.isfinite(window)
    means = np.where(known, window, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    curves = {"tampered": means, "intact": np.full(len(means), intact.mean() / usual)}
    return Panel(kind, f"step; tampered with in step {AROUND}", "surprise / usual", curves)
