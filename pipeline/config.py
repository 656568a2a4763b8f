"""Everything that determines a run. Imports neither torch, numpy, ray nor gymnasium."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from actors.config import AnyEnvironment, CollectionConfig, EvaluationConfig
from cluster.config import ClusterConfig
from learners.catalogue import AnyAlgorithm
from learners.config import MAY_CHANGE, Config, DatasetConfig, LearnerConfig, PartTraining

NO_FLAG: Final = "no flag"
"""Marks a setting, `Annotated[str, NO_FLAG]`, that no command line changes."""


class CheckpointConfig(Config):
    """What is kept of a run."""

    every: PositiveInt = 1
    """Iterations between commits; a resume plays the iterations since the last one again."""
    keep: Annotated[int, Field(ge=3)] = 3
    """Newest checkpoints that are not deleted; if one is damaged, a run goes back to the one before."""


class RunConfig(Config):
    """One run: an algorithm, an environment, a seed and a schedule."""

    preset: Annotated[str, NO_FLAG]
    """Name of the preset this configuration started from."""
    seed: NonNegativeInt = 0
    """Of all randomness of the run."""
    iterations: Annotated[int, Field(ge=0, le=1_000_000), MAY_CHANGE] = 600
    """Of collecting and training. May grow when a run is resumed; 0 only builds the networks."""
    schedule: Literal["synchronous", "overlapped"] = "synchronous"
    """Whether an iteration is collected after the one before it has been learnt, or while it is learnt: faster where
    collecting or several learners leave each other waiting, with weights that are one iteration older."""
    env: AnyEnvironment
    algorithm: AnyAlgorithm
    dataset: DatasetConfig = DatasetConfig()
    learner: LearnerConfig = LearnerConfig()
    collection: CollectionConfig = CollectionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: Annotated[CheckpointConfig, MAY_CHANGE] = CheckpointConfig()
    cluster: Annotated[ClusterConfig, MAY_CHANGE] = ClusterConfig()
    inspect_every: Annotated[PositiveInt, MAY_CHANGE] = 25
    """Iterations between inspections: each part measured on steps it has not trained on, and pictures in `media/`; the
    last iteration is always inspected."""
    log_every: Annotated[PositiveInt, MAY_CHANGE] = 50
    """Gradient steps per call to the learner: how often progress is shown."""

    @property
    def trainings(self) -> dict[str, PartTraining]:
        """How each part is trained, in the order in which they train."""
        return self.algorithm.trainings

    @property
    def iterations_at_once(self) -> int:
        """In flight; the next one starts when the oldest of them has committed, and is collected with its weights."""
        return 2 if self.schedule == "overlapped" else 1

    @property
    def game(self) -> str:
        """Short name of what is played."""
        return getattr(self.env, "game", None) or getattr(self.env, "id", None) or self.env.kind

    @model_validator(mode="after")
    def _batches_can_be_shared_out(self) -> Self:
        ranks = self.cluster.data_parallel
        for part, training in self.trainings.items():
            if training.batch_size % ranks:
                path = f"{self.setting_of(part)}.batch_size"
                raise ValueError(
                    f"cluster.data_parallel: found {ranks}, expected a divisor of {path}, {training.batch_size}"
                )
        try:
            self.algorithm.check_ranks(ranks)
        except ValueError as error:
            raise ValueError(f"cluster.data_parallel: {error}") from error
        return self

    @model_validator(mode="after")
    def _episodes_are_long_enough(self) -> Self:
        for longest, check in (
            (self.env.longest_episode, self.algorithm.check_episode),
            (self.env.longest_training_episode, self.algorithm.check_training_episode),
        ):
            try:
                if longest is not None:
                    check(longest)
            except ValueError as error:
                raise ValueError(f"algorithm.{error}") from error
        return self

    def version_for(self, iteration: int) -> int:
        """The iteration whose weights collect this one: the newest that had ended when it began; 0 if none had."""
        return max(0, iteration - self.iterations_at_once)

    def is_committed(self, iteration: int) -> bool:
        """Whether a commit is due at its end."""
        return iteration == self.iterations or iteration % self.checkpoint.every == 0

    def planned_steps(self, iteration: int) -> int:
        """Environment steps in the store once iterations 1..iteration are done."""
        collecting = min(iteration, self.collection.last_iteration)
        later = self.collection.steps_per_iteration * max(0, collecting - 1)
        return self.collection.steps_in(1) + later if collecting else 0

    def gradient_steps(
        self, part: str, iteration: int, earlier: Sequence[Mapping[str, Any]], now: Mapping[str, Any]
    ) -> int:
        """Of a part in an iteration: those of its schedule, once the gates before it are open, and as long as its own
        does not stop it.

        Args:
            earlier: metrics of the iterations before.
            now: of this one, so far.
        """
        parts = list(self.trainings)
        for gate in self.algorithm.gates:
            if parts.index(gate.part) < parts.index(part) and not any(map(gate.opens, [*earlier, now])):
                return 0
            if gate.part == part and gate.stops and any(map(gate.opens, earlier)):
                return 0
        return self.trainings[part].steps_in(iteration)

    def setting_of(self, part: str) -> str:
        """Dotted path of a part's training, as flags name it."""
        return next(path for path, training in _trainings(self, "") if training is self.trainings[part])

    def identity_hash(self) -> str:
        """sha256 of `identity`: what must not change when a run is resumed."""
        return sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()


def _trainings(config: Config, prefix: str) -> Iterator[tuple[str, PartTraining]]:
    """Path and value of every PartTraining in a configuration."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, PartTraining):
            yield prefix + name, value
        elif isinstance(value, Config):
            yield from _trainings(value, f"{prefix}{name}.")
