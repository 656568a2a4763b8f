"""Trains all parts of an agent on one device: dataset mirror, gradient steps, published weights, saved state.

Consumes receipts of durable steps and calls that name the part, the iteration and the gradient steps; produces metrics,
weights and files. What it draws depends on (seed, part, iteration, step) alone, so a learner rebuilt from a checkpoint
and the same steps goes on exactly as the lost one would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learners.algorithm import AgentConfig
from learners.columns import Experience
from learners.config import DatasetConfig, LearnerConfig
from learners.dataset import Dataset
from learners.durable import write_durably
from learners.errors import RecoverableError
from learners.experience import Chunk
from learners.inspection import Inspection
from learners.memory import batch_too_large, device_memory, has_run_out
from learners.nn.precision import autocast
from learners.part import Part
from learners.part_trainer import DivergedError, PartTrainer
from learners.ranks import ALONE, ProcessRanks, Ranks, meeting_point, share
from learners.reading import read_file
from learners.streams import Streams
from learners.weights import flat_weights, load_flat_weights

GPU_SHARE = 0.7
"""Of a GPU's memory that experience may take; networks and batches take the rest."""


class PartCopy(NamedTuple):
    """A part as it was at one moment, on its way to another learner."""

    weights: NDArray[np.uint8]
    updates: int
    """Gradient steps it had taken."""


class Learner:
    """Holds all parts of an agent and trains those it is asked to; alone, or as one of several `ranks`."""

    def __init__(
        self,
        agent: AgentConfig,
        dataset: DatasetConfig,
        config: LearnerConfig,
        *,
        seed: int,
        device: str,
        cache: bool = True,
        ranks: Ranks = ALONE,
        experience: Experience | None = None,
        planned_bytes: int = 0,
    ) -> None:
        """
        Args:
            cache: without it, derived columns are computed anew for every batch.
            experience: where `mirror` finds what receipts vouch for.
            planned_bytes: of all experience in the end, if frames are kept; with `dataset.frames` auto, a GPU that is
                too small for them reads them.
        """
        self.config = config
        self._experience = experience
        self._device = torch.device(device)
        self.keeps_frames = dataset.frames != "read"
        if dataset.frames == "auto" and self._device.type == "cuda":
            self.keeps_frames = planned_bytes < GPU_SHARE * device_memory(self._device)
        self._ranks = ranks
        self._streams = Streams(seed)
        torch.use_deterministic_algorithms(config.deterministic)
        torch.backends.cuda.matmul.allow_tf32 = config.tf32
        torch.manual_seed(self._streams.key("initialisation"))
        self.algorithm = agent.build(record=config.cuda_graph and self._device.type == "cuda")
        parts = self.algorithm.parts
        # With channels innermost a CPU's group norm is ten times slower; a GPU's convolutions are faster.
        memory_format = torch.channels_last if self._device.type == "cuda" else torch.contiguous_format
        for part in parts:
            part.module.to(self._device).to(memory_format=memory_format).eval()  # type: ignore[call-overload]
        self._trainers = {part.name: PartTrainer(part) for part in parts}
        self.parts = {part.name: part for part in parts}
        self.dataset = Dataset(
            dataset,
            self._device,
            agent.action_space,
            self.algorithm.derived,
            lambda part: self._trainers[part].updates,
            cache=cache,
            read_frames=None if self.keeps_frames or experience is None else experience.frames,
        )

    def meet(self, host: str) -> str:
        """Opens a place on this machine, by its address `host`, where ranks can `join`; host:port."""
        address, self._meeting_point = meeting_point(host)
        return address

    def join(self, address: str, index: int, count: int, timeout_s: float) -> None:
        """From now on takes gradient steps together with other ranks. Raises: RankLostError if not all of them come."""
        self._ranks = ProcessRanks(address, index, count, self._device, timeout_s)

    def residence(self) -> str:
        """Where frames are, in words."""
        return "kept in memory" if self.keeps_frames else "read from replay/ whenever they are drawn"

    def updates(self) -> dict[str, int]:
        """Gradient steps that each part has taken."""
        return {name: trainer.updates for name, trainer in self._trainers.items()}

    def parameter_counts(self) -> dict[str, int]:
        return {name: count_parameters(trainer.part.module) for name, trainer in self._trainers.items()}

    def mirror(self, iterations: Sequence[Sequence[Any]], *, gaps: bool = False) -> int:
        """Takes up the steps that receipts vouch for, of one iteration after another; how many steps there are then.
        With `gaps`, some may miss.

        Raises: RecoverableError if something is damaged.
        """
        assert self._experience
        for receipts in iterations:
            before = self.dataset.newest_iteration
            try:
                self.extend(self._experience.steps(receipts, with_frames=self.keeps_frames), gaps=gaps)
            except RecoverableError:
                self.truncate(before)  # half an iteration would be taken for a whole one
                raise
        return self.dataset.num_steps

    def extend(self, chunks: Iterable[Chunk], *, gaps: bool = False) -> None:
        """Takes up steps that are at hand, in the order given."""
        for chunk in chunks:
            self.dataset.extend(chunk, gaps=gaps)

    def truncate(self, last_iteration: int) -> int:
        """Forgets the steps of all later iterations; up to which iteration there are steps then."""
        self.dataset.truncate(last_iteration)
        if self._experience:
            self._experience.truncate(self.dataset.num_steps)
        return self.dataset.newest_iteration

    def train(self, part: str, iteration: int, steps: range) -> dict[str, float]:
        """Takes the gradient steps `steps` of an iteration; the mean of every loss term and metric over them.

        Raises: DivergedError if a loss or a gradient was not finite: the weights are those before that step, but for
            what a module itself changes when it computes.
            BatchTooLargeError or ExperienceTooLargeError if the device's memory is too small. RankLostError.
        """
        trainer = self._trainers[part]
        reports: list[Mapping[str, Tensor]] = []
        drawn: list[NDArray[np.int64]] = []
        remembered = trainer.part.drawing.state()
        trainer.part.module.train()
        try:
            for step in steps:
                drawn.append(self._draw(trainer.part, iteration, step))
                reports.append(self._gradient_step(trainer, iteration, step, drawn[-1]))
        except (RuntimeError, MemoryError) as error:
            if has_run_out(error):
                raise batch_too_large(trainer.part.training.batch_size, self._ranks.count, self._device) from error
            raise
        finally:  # a learner that lost a rank is used again
            trainer.part.module.eval()
        values = torch.stack([torch.stack(list(report.values())) for report in reports]).double().cpu().numpy()
        wrong = np.argwhere(~np.isfinite(values))  # (step, name), in their order
        if len(wrong):
            index, name = wrong[0]
            trainer.updates -= len(steps) - int(index)
            trainer.part.drawing.restore(remembered)
            for step in steps[:index]:  # what was drawn after them trained nothing
                self._draw(trainer.part, iteration, step)
            batch = ", ".join(self.dataset.names(drawn[index]))
            raise DivergedError(
                f"{part}: {list(reports[0])[name]} is {values[index, name]:g} in gradient step {steps[index]} of"
                f" iteration {iteration}; its batch (episode:first step-last step): {batch}"
            )
        return dict(zip(reports[0], values.mean(axis=0).tolist(), strict=True))

    def weights(self) -> NDArray[np.uint8]:
        """Of everything that acts, for `Agent.load`."""
        return flat_weights(self.algorithm.acting_modules())

    def copy_of(self, part: str) -> PartCopy:
        """For `adopt`."""
        trainer = self._trainers[part]
        return PartCopy(flat_weights({part: trainer.part.module}), trainer.updates)

    def adopt(self, part: str, copy: PartCopy) -> None:
        """Takes over a part that another learner trains."""
        trainer = self._trainers[part]
        load_flat_weights({part: trainer.part.module}, copy.weights)
        trainer.updates = copy.updates

    def save(self, directory: str, parts: Sequence[str] | None = None) -> dict[str, str]:
        """Writes one durable file a part (all, or those named) into an existing directory; file name -> sha256."""
        hashes = {}
        for name in parts or self._trainers:
            data = self._trainers[name].to_bytes()
            write_durably(Path(directory) / f"{name}.safetensors", data)
            hashes[f"{name}.safetensors"] = sha256(data).hexdigest()
        return hashes

    def load(self, directory: str) -> None:
        """Restores what `save` wrote. The dataset is refilled through `mirror`."""
        for name, trainer in self._trainers.items():
            trainer.from_bytes(read_file(Path(directory) / f"{name}.safetensors"))
        self.dataset.forget_derived()

    def inspect(self, iteration: int) -> Inspection:
        """Measures the parts as they are, on the steps of `iteration`, which none has trained on yet."""
        generator = self._streams.torch(self._device, "inspection", iteration)
        with self.precision():
            return self.algorithm.inspect(self.dataset, iteration, generator)

    def precision(self) -> AbstractContextManager[object]:
        """The region in which everything here is computed: derived columns too, whoever asks for them first."""
        return autocast(self._device, self.config.precision)

    def _gradient_step(
        self, trainer: PartTrainer, iteration: int, step: int, rows: NDArray[np.int64]
    ) -> dict[str, Tensor]:
        part, streams = trainer.part, self._streams
        noise, dropout = f"{part.name}/noise", streams.key(f"{part.name}/dropout", iteration, step)
        torch.manual_seed(dropout + self._ranks.index)
        mine = share(self._ranks, len(rows))
        with self.precision():
            segments = self.dataset.gather(rows[mine], part.columns)
        with nullcontext() if part.in_full_precision else self.precision():
            generator = streams.torch(self._device, noise, iteration, step)
            losses = part.loss(segments, part.draw_noise(len(rows), generator)[:, mine])
        return trainer.step(losses, self._ranks)

    def _draw(self, part: Part, iteration: int, step: int) -> NDArray[np.int64]:
        """Rows of a gradient step's batch."""
        generator = self._streams.numpy(f"{part.name}/segments", iteration, step)
        return self.dataset.draw(part.drawing, part.training.batch_size, generator, iteration=iteration)


def acting_weights(agent: AgentConfig, directory: str) -> NDArray[np.uint8]:
    """What acts, for `Agent.load`, of what a learner saved.

    Raises: ValueError, in one line, if the files are damaged or of other networks.
    """
    algorithm = agent.build()
    for part in algorithm.parts:
        PartTrainer(part).from_bytes(read_file(Path(directory) / f"{part.name}.safetensors"))
    return flat_weights(algorithm.acting_modules())


def count_parameters(module: nn.Module) -> int:
    """That take a gradient."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
