"""Settings of quizzes: grids, the tasks of the world. Imports neither torch nor numpy.

Source: Fleuret, culture.git: quizzes that models make up for each other.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from learners.config import Config, Probability
from learners.nn.config import TransformerSize

Task = Literal["replace_color", "frame", "detect", "half_fill", "translate", "grow", "motion"]
TASKS: tuple[Task, ...] = get_args(Task)
MOST_COLOURS = 10
"""Besides white."""
LEAST_SIDE: dict[Task, int] = {"frame": 3, "half_fill": 3, "grow": 4, "motion": 3}
"""Of the rectangle that the rule is about, or of all, in tasks that need more than the smallest there are; of the grid,
for three steps of a motion."""


def colours_of(task: Task, rectangles: int) -> int:
    """That a quiz of the task has, all distinct and none white."""
    if task == "half_fill":
        return 2 * rectangles
    if task == "motion":
        return 2
    return rectangles + (task in ("replace_color", "detect"))


class GridConfig(Config):
    """What quizzes are drawn on: cells, colours, and rectangles without a common cell."""

    size: Annotated[int, Field(ge=3, le=32)] = 10
    """Cells per side."""
    colours: Annotated[int, Field(ge=2, le=MOST_COLOURS)] = MOST_COLOURS
    """Besides white."""
    rectangles: Annotated[int, Field(ge=1, le=4)] = 3
    """Of a grid; the last is the one that most rules are about."""
    least_side: PositiveInt = 3
    least_area: PositiveInt = 9
    most_area: PositiveInt = 50
    """Cells of a rectangle."""
    reach: Annotated[int, Field(ge=0)] = 0
    """Rectangles, and the two cells that a motion shows, lie before this row and column; 0: anywhere. Published, by a
    slip: before the last."""

    @property
    def edge(self) -> int:
        return self.reach or self.size

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.edge > self.size:
            raise ValueError(f"reach: found {self.reach}, expected at most size, {self.size}")
        if self.least_side > self.edge:
            raise ValueError(f"least_side: found {self.least_side}, expected at most {self.edge}")
        if max(self.least_side**2, self.least_area) > self.most_area:
            least = max(self.least_side**2, self.least_area)
            raise ValueError(f"most_area: found {self.most_area}, expected at least {least}")
        return self


class WorldConfig(Config):
    """Tasks whose quizzes every model learns."""

    grid: GridConfig = GridConfig()
    tasks: tuple[Task, ...] = TASKS

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks: found {', '.join(self.tasks) or 'none'}, expected some, each once")
        for task in self.tasks:
            if (needed := colours_of(task, self.grid.rectangles)) > self.grid.colours:
                raise ValueError(f"grid.colours: found {self.grid.colours}, expected {needed} or more for {task}")
            if task == "detect" and self.grid.rectangles < 2:
                raise ValueError(f"grid.rectangles: found {self.grid.rectangles}, expected 2 or more for {task}")
            least = LEAST_SIDE.get(task, 1)
            if least > self.grid.edge or (task != "motion" and least**2 > self.grid.most_area):
                raise ValueError(f"grid: found no room for {least} × {least} cells, which {task} needs")
        return self


class QuizNetworkConfig(TransformerSize):
    """A GPT over quizzes; the defaults are the talk's, 37.8 million parameters at 10 × 10 cells."""

    layers: Annotated[int, Field(ge=1, le=1000)] = 12
    heads: PositiveInt = 8
    embedding_size: Annotated[int, Field(ge=1, le=100_000)] = 512
    positions: Literal["sinusoidal", "factorised"] = "sinusoidal"
    """Waves (the talk), or sums of embeddings of grid, row and column, which learn from less."""
    embedding_std: PositiveFloat = 0.02
    """Of the normal distribution that embeddings start from."""


class QuizTrainingConfig(Config):
    """An epoch of one model: fresh quizzes, and an optimiser of its own."""

    sequences: PositiveInt = 100_000
    """Of an epoch, half of them in each direction."""
    batch_size: PositiveInt = 25
    learning_rate: PositiveFloat = 5e-4
    last_learning_rate: PositiveFloat = 5e-4
    """At the end of an epoch, on a cosine."""
    warm_up: Annotated[int, Field(ge=0)] = 0
    """Gradient steps until the learning rate is reached, on a line."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_gradient_norm: Annotated[float, Field(ge=0)] = 0.0
    """0: gradients are not clipped."""


class GenerationConfig(Config):
    """How a model makes quizzes up."""

    hot: PositiveFloat = 1.5
    """Temperature at which it draws f(b), before anything else."""
    cold: PositiveFloat = 1.0
    """Of the rest: b, f(a) and a backwards from it, then f(b) anew."""
    batch: PositiveInt = 100
    """Quizzes of one call, by one model."""
    most_batches: PositiveInt = 1_000
    """Of each model in a round; with too few quizzes kept by then, the round keeps fewer."""


class ValidationConfig(Config):
    """Which quizzes are kept: those that enough models understand and enough others do not. The defaults are the talk's
    rule: exactly one fails."""

    by: Literal["answers", "probability"] = "answers"
    """What tells that a model understands a quiz: its answers, or how probable it holds the right ones."""
    backward: bool = False
    """Answers: it must also tell b from f(a), a and f(b)."""
    judges: NonNegativeInt = 0
    """Models, drawn for each quiz, whose votes count; 0: all."""
    least_passes: NonNegativeInt = 0
    """Judges that must understand it."""
    least_failures: NonNegativeInt = 1
    most_failures: NonNegativeInt = 1
    """Judges that do not; 0: any number."""
    undecided: bool = False
    """Whether a quiz is kept that some judge neither understands nor fails."""
    wrong_cells: NonNegativeInt = 0
    """Answers: more of them are a failure, fewer are undecided."""
    understood_above: Probability = 0.95
    failed_below: Probability = 0.5
    """Probability: of both right grids together, between which a judge is undecided."""
    wanted: PositiveInt = 1_100
    """Quizzes that a round keeps."""
    held_out: NonNegativeInt = 100
    """The last of them, which nobody trains on; a round that keeps fewer holds as large a share out."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if 0 < self.most_failures < self.least_failures:
            raise ValueError(f"most_failures: found {self.most_failures}, expected at least {self.least_failures}")
        if self.held_out >= self.wanted:
            raise ValueError(f"held_out: found {self.held_out}, expected fewer than wanted, {self.wanted}")
        if self.failed_below > self.understood_above:
            words = f"found {self.failed_below}, expected at most understood_above, {self.understood_above}"
            raise ValueError(f"failed_below: {words}")
        return self


class SocietyConfig(Config):
    """Models that learn the tasks of a world, and make up quizzes for each other."""

    models: Annotated[int, Field(ge=3, le=1000)] = 5
    """Three at least: of two, one that fails proves nothing."""
    world: WorldConfig = WorldConfig()
    network: QuizNetworkConfig = QuizNetworkConfig()
    training: QuizTrainingConfig = QuizTrainingConfig()
    generation: GenerationConfig = GenerationConfig()
    validation: ValidationConfig = ValidationConfig()
    threshold: Probability = 0.95
    """Accuracy that every model must have before quizzes are made up; after that, all train again."""
    trained_at_once: PositiveInt = 1
    """Models that train in a round: those of the lowest accuracy."""
    newest_first: bool = True
    """Whether the newest quizzes that were made up are trained on, or any of them."""
    culture_share: Annotated[float, Field(ge=0, le=0.5)] = 0.5
    """Of an epoch, at most; 0: nobody learns what was made up."""
    tests: PositiveInt = 2_000
    """Quizzes by which accuracy is measured, as large a share of them made up as in the epoch."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        rule = self.validation
        if rule.judges > self.models:
            raise ValueError(f"validation.judges: found {rule.judges}, expected at most {self.models}")
        if rule.least_passes + rule.least_failures > (judges := rule.judges or self.models):
            words = f"found {rule.least_passes} + {rule.least_failures}, expected at most {judges}, as many as judge"
            raise ValueError(f"validation.least_passes + least_failures: {words}")
        if self.tests // 2 < (tasks := len(self.world.tasks)):
            raise ValueError(f"tests: found {self.tests}, expected at least {2 * tasks}, so that every task has some")
        if self.trained_at_once > self.models:
            raise ValueError(f"trained_at_once: found {self.trained_at_once}, expected at most {self.models}")
        return self
