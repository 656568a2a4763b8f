"""Settings of everything that learns, as far as all algorithms share them; an algorithm's own are in its folder.

Imports neither torch nor numpy: a command line can show its help without loading them.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

if TYPE_CHECKING:
    from learners.action_space import ActionSpace
    from learners.algorithm import Algorithm

Kind = TypeVar("Kind", bound="KindConfig")
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
FRAME_SIZE = 64
"""Frames are 3 × FRAME_SIZE × FRAME_SIZE, uint8 at rest."""
MAY_CHANGE: Final = "may change between starts"
"""Marks a setting, `Annotated[int, MAY_CHANGE]`, that is no part of what a run is."""


class Config(BaseModel):
    """Base of every setting: frozen, strictly typed, numbers finite, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def identity(self) -> dict[str, Any]:
        """The settings, as in a JSON file, but for those marked MAY_CHANGE."""
        values = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if MAY_CHANGE in field.metadata:
                del values[name]
            elif isinstance(value, Config):
                values[name] = value.identity()
        return values


class PartTraining(Config):
    """How one part of an algorithm is trained."""

    starts_after: NonNegativeInt
    """The part first trains in iteration `starts_after` + 1."""
    batch_size: PositiveInt
    """Segments per gradient step."""
    steps_per_iteration: PositiveInt = 200
    """Gradient steps per iteration."""
    first_steps: NonNegativeInt = 0
    """Gradient steps in iteration 1, if the part trains there; 0 is as many as in the others."""
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled (AdamW), on the weights of Linear layers only; 0 is Adam."""
    max_gradient_norm: PositiveFloat = 10.0
    """Gradients are scaled down to this global L2 norm."""

    def steps_in(self, iteration: int) -> int:
        """Gradient steps that the schedule plans for an iteration."""
        if iteration <= self.starts_after:
            return 0
        return self.first_steps if iteration == 1 and self.first_steps else self.steps_per_iteration


class Gate(Config):
    """A condition on the metrics of a part: the parts after it wait for an iteration in which it held."""

    part: str
    metric: str
    threshold: float
    above: bool
    """Whether the metric must be above the threshold, or below it."""
    stops: bool
    """Whether the part itself does not train after that iteration."""

    def opens(self, metrics: Mapping[str, float]) -> bool:
        """Whether it holds in an iteration's metrics (`part/metric` -> value)."""
        value = metrics.get(f"{self.part}/{self.metric}")
        return value is not None and (value > self.threshold if self.above else value < self.threshold)


class KindConfig(Config):
    """Base of settings of which there are several kinds, ours and others'; the kind tells which class they are of."""

    kind: str
    """Of the settings: that which their class has by default."""

    @field_validator("kind")
    @classmethod
    def _is_its_own(cls, kind: str) -> str:
        if kind != (own := cls.model_fields["kind"].default):
            raise ValueError(f"found {kind!r}, expected {own!r}: another kind is another preset")
        return kind


class Kinds(Generic[Kind]):
    """The classes of settings that can stand in one place, by their kind."""

    def __init__(self, ours: Callable[[], Iterable[type[Kind]]]) -> None:
        """`ours` is asked when somebody wants to know."""
        self._ours = ours
        self._foreign: list[type[Kind]] = []

    def register(self, config: type[Kind]) -> None:
        """Makes a class known that is not ours. Raises ValueError if there is another of that kind."""
        kind = config.model_fields["kind"].default
        if not isinstance(kind, str) or self.known().get(kind, config) is not config:
            raise ValueError(f"{config.__name__}: found kind {kind!r}, expected a name of its own")
        self._foreign.append(config)

    def known(self) -> dict[str, type[Kind]]:
        return {each.model_fields["kind"].default: each for each in (*self._ours(), *self._foreign)}

    def choose(self, value: Any, info: ValidationInfo) -> Any:
        """For a BeforeValidator: settings in a mapping become those of their kind."""
        known = self.known()
        if isinstance(value, KindConfig) and known.get(value.kind) is not type(value):
            words = f"found {type(value).__name__}, which no module has registered for the kind {value.kind!r}"
            raise ValueError(f"{words}; expected one that is, or nobody could read the run")
        if not isinstance(value, Mapping):
            return value
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in known:
            words = f"found the kind {kind!r}, expected one of {', '.join(known)}"
            raise ValueError(f"{words}, or --allow-module with the module that registers it")
        if info.mode == "json":  # where tuples are lists
            return known[kind].model_validate_json(json.dumps(value))
        return known[kind].model_validate(value)


class AlgorithmConfig(KindConfig):
    """Base of an algorithm's settings; `learners/catalogue.py` knows all kinds."""

    @property
    @abstractmethod
    def trainings(self) -> dict[str, PartTraining]:
        """How each part is trained, in the order in which they train."""

    @property
    def acting(self) -> str:
        """How it acts, in words that stand beside its scores, where its settings leave a choice."""
        return ""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """What parts wait for besides their schedule, in the order of the parts."""
        return ()

    @abstractmethod
    def build(self, action_space: ActionSpace, *, record: bool = False) -> Algorithm:
        """The algorithm for games with such actions, freshly initialised from torch's global generator.

        With `record`, what is called often with tensors of one shape may be recorded as a CUDA graph.
        """

    def check_ranks(self, ranks: int) -> None:
        """Raises ValueError, in one line, if it cannot be trained by so many processes that share every batch."""

    def check_episode(self, longest: int) -> None:
        """Raises ValueError, in one line, if it cannot act in episodes of at most so many steps."""

    def check_training_episode(self, longest: int) -> None:
        """Raises ValueError, in one line, if it cannot learn from episodes of at most so many steps."""

    def check_files(self, iterations: int) -> None:
        """Raises ValueError, in one line, if a file is missing that so many iterations will need."""


Residence = Literal["auto", "resident", "read"]


class DatasetConfig(Config):
    """How stored experience becomes training segments."""

    frames: Annotated[Residence, MAY_CHANGE] = "auto"
    """Whether a learner keeps all frames on its device, or reads those that it draws from the run directory: slower,
    and for as much experience as the disk holds; `auto` keeps them where there is memory for it. Changes no result."""

    truncation_is_end: bool = True
    """Count running into a time limit as an end for the world model and the returns, as the authors do."""


class LearnerConfig(Config):
    """How gradient steps are computed; `float32` and `bfloat16` runs are different runs."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of matrix products and convolutions. Weights, optimisers, normalisation and losses stay float32."""
    tf32: bool = False
    """On a GPU, let matrix products in float32 round their factors to TF32, as the authors' version of torch did by
    default. Convolutions do in any case, which is torch's default."""
    cuda_graph: Annotated[bool, MAY_CHANGE] = True
    """On a GPU, record the imagined rollout once and replay it as a whole: the same kernels without their launches."""
    deterministic: bool = False
    """Refuse operations whose last bits differ from run to run; a CPU has none, a GPU's are slower."""
