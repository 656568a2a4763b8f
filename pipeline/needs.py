"""What a run will take of its machines, known before it starts, and whether that is there.

Of memory: the experience that each learner keeps, when it takes most. Of disk: what is still to be written, if no
frame could be compressed. Left out is what is small and does not grow with the run: processes, batches, weights in use,
metrics, pictures.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
import torch

from actors.collector import PIECE_STEPS
from cluster.process import Resources
from learners.algorithm import AgentConfig
from learners.columns import CACHE_BYTES
from learners.config import FRAME_SIZE, Residence
from learners.dataset import Dataset
from learners.learner import count_parameters
from learners.memory import peak_bytes
from learners.nn.precision import autocast
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.placement import learner_groups

STORED_BYTES = 3 * FRAME_SIZE**2 + 92
"""Of a step in the replay store, its action left out, at most: noise, in episodes of one step (measured: 56 bytes
beside the frame)."""
PIECE_BYTES = 8192
"""Of a file and its entry in an index, beside its steps: what a header and whole blocks of the disk take."""
_LESS = "fewer --iterations or --collection.steps-per-iteration need less"


@dataclass(frozen=True)
class Needs:
    """In bytes."""

    memory: Sequence[int]
    """For experience, of every learner that keeps frames."""
    memory_without_frames: Sequence[int]
    """The same, where frames are read whenever they are drawn."""
    disk: int
    """At most, from now on."""

    def __str__(self) -> str:
        memory, without, disk = _gb(sum(self.memory)), _gb(sum(self.memory_without_frames)), _gb(self.disk)
        learners = f" in {len(self.memory)} learners" if len(self.memory) > 1 else ""
        return f"{memory} of memory for experience{learners} ({without} if frames are read) and at most {disk} of disk"

    def check_disk(self, path: Path) -> None:
        """Raises UsageError, in one line, if the file system has less room."""
        if (free := shutil.disk_usage(path).free) < self.disk:
            words = f"found {_gb(free, floor)} of free disk, expected {_gb(self.disk)} for what is still to come"
            raise UsageError(f"{path}: {words}; {_LESS}")

    def place_frames(self, asked: Residence, nodes: Sequence[Resources]) -> Residence:
        """Where frames will be on these machines; raises UsageError, in one line, if experience fits neither way."""
        if asked == "read" or (asked == "auto" and _shortage(self.memory, nodes)):
            if shortage := _shortage(self.memory_without_frames, nodes):
                raise UsageError(f"memory: {shortage}, frames left out; {_LESS}")
            return "read"
        if shortage := _shortage(self.memory, nodes):
            raise UsageError(f"memory: {shortage}; {_LESS}, --dataset.frames read needs little")
        return "resident"


def _shortage(needed: Sequence[int], nodes: Sequence[Resources]) -> str | None:
    """What is missing on these machines to hold the experience of all learners."""
    memory = [node["memory"] for node in nodes if "memory" in node] or [float("inf")]
    for found, expected, where in (
        (max(memory), max(needed), "on the largest machine"),
        (sum(memory), sum(needed), "on all machines"),
    ):
        if found < expected:
            return f"found {_gb(found, floor)} {where}, expected {_gb(expected)} for experience"
    return None


def needs_of(config: RunConfig, agent: AgentConfig, committed: Sequence[int]) -> Needs:
    """Of a run that has kept commits of the iterations `committed`."""
    algorithm = agent.build()
    for part in algorithm.parts:
        part.module.eval()
    read = [
        [name for part in algorithm.parts if part.name in group for name in part.columns]
        for group in learner_groups(config)
    ]
    read[-1] += algorithm.derived  # the last learner inspects all parts
    cpu = torch.device("cpu")
    with autocast(cpu, config.learner.precision):
        columns = []
        for names in read:
            dataset = Dataset(  # row by row
                config.dataset, cpu, agent.action_space, algorithm.derived, lambda part: 0, cache=False
            )
            dataset.gather(np.zeros((1, 1), dtype=np.int64), names)  # of padding, to see what the columns are
            columns.append(dataset.step_bytes())
    modules = [part.module for part in algorithm.parts]
    weights = sum(tensor.nbytes for module in modules for tensor in module.state_dict().values())
    return planned_needs(config, columns, weights, sum(map(count_parameters, modules)), committed)


def planned_needs(
    config: RunConfig, columns: Sequence[Mapping[str, int]], weights: int, num_parameters: int, committed: Sequence[int]
) -> Needs:
    """The arithmetic of `needs_of`.

    Args:
        columns: bytes of a step in every column, of each group of learners.
        weights: bytes of all of them.
        num_parameters: that are trained.
    """
    steps = config.planned_steps(config.iterations)
    ranks = range(config.cluster.data_parallel)
    memory = [peak_bytes(steps, list(each.values())) for each in columns for _ in ranks]
    without_frames = [_peak_without_frames(steps, each) for each in columns for _ in ranks]
    to_come = steps - config.planned_steps(max(committed, default=0))
    # Weights, in an overlapped schedule those of the iteration before, too, and two averages of Adam's in float32.
    commit = config.iterations_at_once * weights + 2 * 4 * num_parameters
    commits = max(0, config.checkpoint.keep + 1 - len(committed))
    left = [config.collection.steps_in(i) for i in range(1 + max(committed, default=0), config.iterations + 1)]
    pieces = sum(config.collection.num_collectors + steps // PIECE_STEPS for steps in left if steps)
    step = STORED_BYTES + columns[0]["actions"]
    return Needs(memory, without_frames, to_come * step + pieces * PIECE_BYTES + commits * commit)


def _peak_without_frames(num_steps: int, columns: Mapping[str, int]) -> int:
    """As `peak_bytes`; of derived columns as much is kept as there is room for in their cache."""
    own = [columns[name] for name in ("actions", "rewards", "ends")]
    derived = [size for name, size in columns.items() if name not in ("frames", "actions", "rewards", "ends")]
    return peak_bytes(num_steps, own) + sum(min(peak_bytes(num_steps, [size]), 2 * CACHE_BYTES) for size in derived)


def _gb(amount: float, rounded: Callable[[float], int] = ceil) -> str:
    return f"{rounded(amount / 1e8) / 10:.1f} GB"
