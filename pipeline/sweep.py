"""`python -m pipeline.sweep submit|status|resume|stop MANIFEST`: many runs, each of them a Ray job of its own.

Nothing is remembered here: what there is to do follows from the manifest, the run directories and the cluster's list of
jobs. So a sweep survives the process that submits it, and a second one does no harm.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cluster.errors import LostError
from pipeline.cli import FAILURE_EXIT_CODE, Positional, Tool, command, parse_arguments
from pipeline.manifest import Manifest, PlannedRun
from pipeline.placement import layout_of
from pipeline.run_status import RunStatus

if TYPE_CHECKING:
    from rich.table import Table

    from cluster.jobs import Job, Jobs

POLL_S = 5.0
BACKOFF_S = 10.0
"""After the first failure of a run; doubles with each, up to ten minutes."""
MAX_BACKOFF_S = 600.0
SILENCE_S = 600.0
"""How long the cluster may not answer before `submit` gives up."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
PROJECT = Path(__file__).parent.parent
"""What is sent to the cluster as a job's working directory."""
Phase = Literal["waiting", "pending", "running", "finished", "stopped", "failed"]


class Arguments(Tool):
    """Runs every preset × game × seed of a manifest as a Ray job of its own (docs/operations.md shows a manifest).

    "submit" submits what is neither finished nor running as long as there is room, and waits until all is done; failed
    runs are tried again, and runs that the manifest's root holds already go on.

    "status" shows how far every run is.

    "resume" is like submit, but runs that were stopped or have failed too often are tried again, too.

    "stop" asks all running jobs to end; what they have committed stays.
    """

    action: Annotated[Literal["submit", "status", "resume", "stop"], Positional()]
    """What to do."""
    manifest: Annotated[Path, Positional()]
    """A TOML file."""
    address: str = os.environ.get("RAY_API_SERVER_ADDRESS", DEFAULT_ADDRESS)
    """Of the cluster's dashboard; by default RAY_API_SERVER_ADDRESS, else this machine's."""
    dry_run: bool = False
    """Only print what would be submitted and what it costs."""
    detach: bool = False
    """Submit what there is room for now, and leave."""
    allow_open_cluster: bool = False
    """Submit to a cluster even if others can reach it and it asks for no token: they can run code there."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(Arguments, sys.argv[1:] if argv is None else argv, "python -m pipeline.sweep")
    manifest = Manifest.read(arguments.manifest)
    if arguments.dry_run:
        print(plan(manifest))
        return 0
    from cluster.jobs import Jobs

    jobs = Jobs(arguments.address, manifest.name, allow_open=arguments.allow_open_cluster)
    sweep = Sweep(manifest, jobs, again=arguments.action == "resume")
    if arguments.action == "stop":
        return sweep.stop()
    if arguments.action == "status":
        sweep.look()
        sweep.show()
        return 0
    return sweep.submit(detach=arguments.detach)


@dataclass
class RunState:
    """A run of the manifest, the attempts at it, and how far they came."""

    planned: PlannedRun
    attempts: list[Job]
    status: RunStatus

    @property
    def phase(self) -> Phase:
        last = self.attempts[-1] if self.attempts else None
        if last and last.is_active:
            return "running" if last.status == "running" else "pending"
        if self.status.fault:
            return "failed"
        # A directory that cannot be seen from here leaves only the job's own word.
        seen = self.planned.run_dir.parent.exists()
        if self.status.is_finished or (last and last.status == "succeeded" and not seen):
            return "finished"
        if last is None or last.status == "succeeded":
            return "waiting"
        return "stopped" if last.status == "stopped" else "failed"

    @property
    def is_active(self) -> bool:
        return self.phase in ("running", "pending")

    @property
    def failures(self) -> list[Job]:
        return [job for job in self.attempts if job.status == "failed"]


class Sweep:
    """The runs of a manifest on a cluster."""

    def __init__(self, manifest: Manifest, jobs: Jobs, *, again: bool = False) -> None:
        """With `again`, runs that were stopped or have failed too often before now are tried again."""
        self._manifest = manifest
        self._jobs = jobs
        self._again = again
        self._ended_before: set[str] | None = None  # ids of jobs that had ended at the first look
        self._ended_at: dict[str, float] = {}  # job id -> when it was seen to have ended; clocks of machines may differ
        self._planned = manifest.runs()
        self._states: list[RunState] = []
        self._causes: dict[str, str] = {}  # job id -> why it failed
        self._printed: list[str] = []

    def look(self) -> list[RunState]:
        """Asks the cluster and the run directories. Raises LostError if the cluster does not answer."""
        jobs = self._jobs.list()
        for job in jobs:
            if not job.is_active:
                self._ended_at.setdefault(job.id, time.monotonic())
        if self._ended_before is None:
            self._ended_before = set(self._ended_at)
        self._states = [
            RunState(run, [job for job in jobs if job.run == run.name], RunStatus.of(run.run_dir, run.config))
            for run in self._planned
        ]
        for state in self._states:
            for job in state.failures:
                if job.id not in self._causes:
                    self._causes[job.id] = self._jobs.last_error(job)
        return self._states

    def submit(self, *, detach: bool) -> int:
        """Submits until every run is finished, stopped, or has failed too often; the exit code.

        Meanwhile there is a live table on a terminal, elsewhere a line for each change.
        """
        from rich.console import Console
        from rich.live import Live

        console = Console(force_terminal=sys.stdout.isatty())
        print_line = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        answered = time.monotonic()
        with Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live:
            while True:
                try:
                    self.look()
                    self._submit_what_fits()
                    states = self.look()
                    answered = time.monotonic()
                except LostError as error:
                    if time.monotonic() - answered > SILENCE_S:
                        raise
                    print_line(f"{error}; asking again")
                    time.sleep(POLL_S)
                    continue
                live.update(self.table(), refresh=True)
                for change in self._changes() if not console.is_terminal else ():
                    print_line(change)
                if detach or not any(state.is_active or self._is_to_do(state) for state in states):
                    break
                time.sleep(POLL_S)
        phases = Counter(state.phase for state in states)
        print(", ".join(f"{count} {phase}" for phase, count in phases.items()))
        return 0 if detach or phases["finished"] == len(states) else FAILURE_EXIT_CODE

    def stop(self) -> int:
        """Asks every running job to end. A `submit` that is at work sees it and submits nothing more."""
        active = [state.attempts[-1] for state in self.look() if state.is_active]
        for job in active:
            self._jobs.stop(job)
        print(f"asked {len(active)} jobs to end; `resume` goes on with their runs")
        return 0

    def show(self) -> None:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 160).print(self.table())

    def table(self) -> Table:
        from rich.table import Table

        table = Table("run", "state", "iteration", "steps/s", "score", "restarts", "left", "cause of death", box=None)
        for state in self._states:
            config, status, speed, left = state.planned.config, state.status, "", ""
            if (seconds := status.iteration_seconds) and state.phase == "running":
                speed = f"{config.collection.steps_in(status.iteration) / seconds:.1f}"
            if seconds and state.phase != "finished":
                left = _duration((config.iterations - status.iteration) * seconds)
            table.add_row(
                state.planned.name,
                state.phase,
                f"{status.iteration}/{config.iterations}",
                speed,
                "" if status.score is None else f"{status.score:.2f}",
                str(max(0, len(state.attempts) - 1)),
                left,
                self._cause(state),
            )
        return table

    def _cause(self, state: RunState) -> str:
        """Why a run does not go on."""
        if state.status.fault:
            return state.status.fault
        return self._causes[state.failures[-1].id] if state.failures and state.phase != "finished" else ""

    def _submit_what_fits(self) -> None:
        active = sum(state.is_active for state in self._states)
        most = self._manifest.max_concurrent or len(self._states)
        for state in self._states:
            if not self._is_to_do(state) or self._is_resting(state):
                continue
            if active >= most:
                return
            bundles = layout_of(state.planned.config, [self._jobs.largest_node()]).bundles  # each on one node
            if not self._jobs.room(bundles, active):
                return
            attempt = max((job.attempt for job in state.attempts), default=0) + 1
            entrypoint = ["python", "-m", "pipeline.train", *map(shlex.quote, state.planned.arguments)]
            self._jobs.submit(state.planned.name, attempt, entrypoint, PROJECT)
            active += 1

    def _is_to_do(self, state: RunState) -> bool:
        """Whether it is to be submitted, now or after a rest."""
        if any(job.status == "stopped" and self._is_news(job) for each in self._states for job in each.attempts[-1:]):
            return False  # someone wants the sweep to end
        if state.status.fault:
            return False
        if state.phase == "failed":
            return len(self._failures(state)) <= self._manifest.retries
        return state.phase == "waiting" or (state.phase == "stopped" and self._again)

    def _is_resting(self, state: RunState) -> bool:
        """Whether it failed too short a time ago."""
        failures = self._failures(state)
        if state.phase != "failed" or not failures:
            return False
        pause = min(MAX_BACKOFF_S, BACKOFF_S * 2 ** (len(failures) - 1))
        return time.monotonic() < self._ended_at[failures[-1].id] + pause

    def _failures(self, state: RunState) -> list[Job]:
        """Those that count."""
        return [job for job in state.failures if not self._again or self._is_news(job)]

    def _is_news(self, job: Job) -> bool:
        """Whether it ended after the first look."""
        return job.id not in (self._ended_before or ())

    def _changes(self) -> list[str]:
        """What is new since the last call, a line for each run."""
        before, self._printed = self._printed, []
        for state in self._states:
            if state.phase != "waiting":
                attempt = f" (attempt {len(state.attempts)})" if len(state.attempts) > 1 else ""
                self._printed.append(f"{state.planned.name}: {state.phase}{attempt}")
        return [line for line in self._printed if line not in before]


def plan(manifest: Manifest) -> str:
    """What a sweep consists of and what it costs, as far as finished runs of the same presets tell."""
    runs = manifest.runs()
    lines = [f"sweep {manifest.name}: {len(runs)} runs in {manifest.root}"]
    seconds: dict[str, list[float]] = {}
    for run in runs:
        status = RunStatus.of(run.run_dir, run.config)
        done = f"{status.iteration}/{run.config.iterations} iterations done" if status.iteration else ""
        lines.append(f"  {run.name:<40} {status.fault or done}".rstrip())
        if status.is_finished:
            seconds.setdefault(run.config.preset, []).append(status.total_seconds)
    steps = sum(run.config.planned_steps(run.config.iterations) for run in runs)
    lines.append(f"in all {steps:,} environment steps in {sum(run.config.iterations for run in runs):,} iterations")
    for preset in manifest.presets:
        count = sum(run.config.preset == preset for run in runs)
        if taken := seconds.get(preset):
            mean = sum(taken) / len(taken)
            words = f"{_duration(mean)} a run, as {len(taken)} finished took; {_duration(mean * count)} in all"
        else:
            words = "the time of a run is not known: none has finished here"
        lines.append(f"  {preset}: {words}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


if __name__ == "__main__":
    command(main)
