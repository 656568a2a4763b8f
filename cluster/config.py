"""Settings of processes and resources. They change how fast a run is, not what it computes (but see `learner_threads`
and `data_parallel`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from learners.config import Config

PROBE = ".probe-"
"""How the files begin that nodes write for a moment into the directory of a run, to see whether they can."""


Seconds = Annotated[int, Field(gt=0, le=10_000_000)]
"""A hundred days at most: longer waits overflow in those that do the waiting."""


class ProcessesConfig(Config):
    """Where processes work, and how long they are waited for."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of who learns; auto is cuda where the cluster has a GPU."""
    object_store_mb: PositiveInt = 512
    """Shared memory of an embedded Ray for objects on their way between processes."""
    start_timeout_s: Seconds = 120
    """How long to wait for resources and for processes to start."""
    call_timeout_s: Seconds = 1800
    """How long any single call to a process may take."""
    max_losses: NonNegativeInt = 3
    """How often between two commits lost processes are replaced and the run goes back to the last commit."""


class ClusterConfig(ProcessesConfig):
    """Where and with what the run's processes work."""

    gpu_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Of a GPU that each learner takes for itself: with 0.25 four runs fit on one. Memory is not divided by it."""
    acting: Literal["beside", "spread"] = "beside"
    """Where collectors and evaluators work: beside the learner, in turns with it on what it has; or spread over the
    nodes, each pair on a CPU of its own and without a GPU. On a run without a GPU it changes no result."""
    acting_on: str = ""
    """Label of the nodes on which who is spread may work, as `pool=cpu` (`ray start --labels pool=cpu`); any node."""
    learners: Literal["colocated", "split"] = "colocated"
    """Where the parts train: all of them in one process on one device; or each in a process and on a device of
    its own, which is only faster with `--schedule overlapped`. With as many threads each it changes no result."""
    data_parallel: Annotated[int, Field(gt=0, le=10_000)] = 1
    """Processes, each with a device of its own, that share every batch of a part. Results differ from those of one
    process in their last bits, and in what dropout draws."""
    learner_threads: Annotated[int, Field(ge=0, le=10_000)] = 0
    """CPU threads of each learner; 0 is what the cores of the largest node give each that computes at once, 4 on a GPU.
    Another number changes the last bits of the results."""

    @field_validator("acting_on")
    @classmethod
    def _is_a_label(cls, value: str) -> str:
        if value and not all(value.partition("=")):
            raise ValueError(f"found {value!r}, expected a label as name=value")
        return value

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.acting_on and self.acting != "spread":
            raise ValueError(f"acting_on: found {self.acting_on!r} and acting beside, expected acting spread")
        if self.data_parallel > 1 and self.gpu_share < 1.0:
            raise ValueError(f"data_parallel: found {self.data_parallel} and gpu_share {self.gpu_share:g}, expected 1")
        return self
