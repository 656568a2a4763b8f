"""What a run tells Prometheus, through the endpoint that Ray opens on every node; `deploy/grafana.json` draws it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Gauge

GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "iris_iteration": ("The last that is committed.", ()),
    "iris_steps": ("Environment steps up to there.", ()),
    "iris_iteration_seconds": ("Of the last iteration, since the one before.", ()),
    "iris_phase_seconds": ("Of each phase, when it last came.", ("phase",)),
    "iris_loss": ("Of each part, mean over the last iteration in which it trained.", ("part",)),
    "iris_score": ("Mean of the newest evaluation.", ()),
    "iris_processes_lost": ("How often this start of the run went back to a commit.", ()),
}
"""Name -> what it is, and its tags beside `run`. Prometheus sees each with `ray_` before it."""


class Gauges:
    """Of one run."""

    def __init__(self, run: str) -> None:
        self._gauges = {name: Gauge(name, words, ("run", *tags)) for name, (words, tags) in GAUGES.items()}
        self._run = run
        self._losses = 0

    def committed(self, metrics: Mapping[str, Any], seconds: float, phases: Mapping[str, float]) -> None:
        """After an iteration, with its line of metrics.jsonl and its seconds in all and by phase."""
        self._set("iris_iteration", metrics["iteration"])
        self._set("iris_steps", metrics["steps"])
        self._set("iris_iteration_seconds", seconds)
        for phase, value in phases.items():
            self._set("iris_phase_seconds", value, phase=phase)
        for name, value in metrics.items():
            if name.endswith("/loss") and not name.startswith("held_out/"):
                self._set("iris_loss", value, part=name.removesuffix("/loss"))
        if "evaluation/score_mean" in metrics:
            self._set("iris_score", metrics["evaluation/score_mean"])
        self._set("iris_processes_lost", self._losses)

    def lost(self) -> None:
        """After a process was lost, or a file found damaged."""
        self._losses += 1
        self._set("iris_processes_lost", self._losses)

    def _set(self, name: str, value: float, **tags: str) -> None:
        self._gauges[name].set(value, {"run": self._run, **tags})
