"""Settings of planning: how actions are looked for, and what they are judged by. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from learners.config import Config, PartTraining, Probability

Blocks = Annotated[int, Field(ge=1, le=1000)]
Samples = Annotated[int, Field(ge=1, le=100_000)]
LONGEST_SEGMENT = 1_000
"""Steps that an upper level is trained on at once."""
MOST_FORESEEN = 1_000_000
"""Steps of all candidates of an iteration together."""


class SearchConfig(Config):
    """Looks for the actions whose imagined outcome costs least."""

    kind: Literal["cem", "mppi", "shooting", "gradient"] = "cem"
    """Cross-entropy method: candidates are drawn anew around the mean of the best. MPPI: around their mean weighted by
    cost. Shooting: all are drawn at once, the best counts. Gradient: several are improved by descent through the
    model. One of several actions: `cem` draws from probabilities, `gradient` relaxes the choice; there is no mppi."""
    blocks: Blocks = 8
    """Actions of a plan."""
    samples: Samples = 64
    """Candidates of an iteration."""
    elites: PositiveInt = 4
    """The best of them, which the next ones are drawn around."""
    iterations: PositiveInt = 5
    objective: Literal["sum", "last"] = "sum"
    """Of the costs of predicted steps: all, or that of the last one alone."""
    min_std: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Candidates vary by no less: a share of half the range of each number, or of equal odds."""
    temperature: PositiveFloat = 0.5
    """Of MPPI's weights, in standard deviations of the elites' costs."""
    keep: Probability = 0.3
    """Of probabilities, how much stays in an iteration; the rest are frequencies among the elites."""
    restarts: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Of the gradient, from other actions each."""
    gradient_steps: PositiveInt = 100
    """Of Adam."""
    learning_rate: PositiveFloat = 0.1
    """Of Adam, in half ranges of each number."""

    @property
    def predictions(self) -> int:
        """Of a candidate."""
        return self.blocks

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (rows := max(self.samples, self.restarts) * self.predictions) > MOST_FORESEEN:
            words = f"samples or restarts × predictions of each: found {rows:,}, expected at most {MOST_FORESEEN:,}"
            raise ValueError(words)
        if self.elites > self.samples:
            raise ValueError(f"elites: found {self.elites}, expected at most samples, {self.samples}")
        return self


PlannerKind = Literal["cem", "mppi", "shooting", "gradient", "reflex"]


class PlannerConfig(SearchConfig):
    """Plans, and does what was planned first, again and again while it acts."""

    kind: PlannerKind = "cem"  # type: ignore[assignment] - none is set
    """How plans are looked for (`cem`: by the cross-entropy method). Reflex: nothing is looked for, it does what it was
    taught that plans begin with."""
    levels: Literal[1, 2] = 1
    """With two, an upper level plans in strides of many steps, and this one goes for where its first stride leads."""
    guess: bool = False
    """Whether it begins with what a reflex would do, and not with what is left of the last plan."""
    block_steps: Annotated[int, Field(ge=1, le=1000)] = 4
    """Steps that each action of a plan is held for."""
    execute: PositiveInt = 1
    """Blocks that are done before it plans anew."""
    outcomes: Annotated[int, Field(ge=1, le=1000)] = 1
    """That are drawn for each candidate, where the world model knows of several; 1 takes the likeliest."""
    spread: NonNegativeFloat = 0.0
    """Weight of the standard deviation of their costs beside the mean: how cautious it is."""

    @property
    def asks_reflex(self) -> bool:
        return self.guess or self.kind == "reflex"

    @property
    def horizon(self) -> int:
        """Predicted steps."""
        return self.blocks * self.block_steps

    @property
    def predictions(self) -> int:
        return self.horizon * self.outcomes

    def check_episode(self, longest: int) -> None:
        """Raises ValueError, in one line, if plans look farther than an episode of so many steps lasts."""
        if self.horizon > longest:
            words = f"blocks × block_steps: found a plan of {self.horizon} steps"
            raise ValueError(f"{words}, expected at most {longest}, those of the longest episode")

    @model_validator(mode="after")
    def _is_done(self) -> Self:
        if self.spread and self.outcomes == 1:
            raise ValueError(f"spread: found {self.spread:g}, expected 0 with one outcome: it has none")
        if self.execute > self.blocks:
            raise ValueError(f"execute: found {self.execute}, expected at most blocks, {self.blocks}")
        return self


class RehearsalConfig(Config):
    """Plans that a critic learns from, beside what was lived through."""

    plans: NonNegativeInt = 0
    """Made in each of its gradient steps, from where segments begin to where others do; 0 does without."""
    memory: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Plans that are remembered, the newest ones."""
    planner: SearchConfig = SearchConfig(blocks=3, samples=16, iterations=2)
    """How they are looked for, by the agent's own cost; each action is held as long as the agent's planner does."""

    def check_size(self, block_steps: int) -> None:
        """Raises ValueError, in one line, if too much is foreseen in a gradient step."""
        planner = self.planner
        rows = self.plans * max(planner.samples, planner.restarts) * planner.blocks * block_steps
        if rows > MOST_FORESEEN:
            words = f"plans × samples or restarts × steps of each: found {rows:,}, expected at most {MOST_FORESEEN:,}"
            raise ValueError(words)

    @model_validator(mode="after")
    def _are_remembered(self) -> Self:
        if self.plans > self.memory:
            raise ValueError(f"plans: found {self.plans}, expected at most memory, {self.memory}")
        return self


class CriticConfig(Config):
    """What is still to come after the last step of a plan, learnt from what was lived through."""

    kind: Literal["none", "time", "quasimetric", "cost"] = "none"
    """Of a state it learns how many steps the goal is away, by values or as a distance; or what the steps to come will
    cost, by the goal's distance in features, or without goals by rewards."""
    hidden: PositiveInt = 256
    """Of its three layers."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """time, cost: that are counted before its own estimate goes on."""
    discount: Annotated[float, Field(gt=0, lt=1)] = 0.98
    """time, cost: of a step."""
    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """time, cost: below 0.5, it values what the best of the walks that were seen did; 0.5 is their mean."""
    others: Probability = 0.5
    """time, cost: of goals, the share that lies in other segments; the rest are what a segment came to (hindsight)."""
    reach: Annotated[int, Field(ge=1, le=1000)] = 32
    """Steps after which a goal of hindsight lies at most; of a quasimetric, over which states are pushed apart."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    """time, cost: how far the copy that targets go on from moves towards it in a gradient step."""
    rehearsal: RehearsalConfig = RehearsalConfig()
    """time, cost, to goals: what it learns from plans."""
    training: PartTraining = PartTraining(starts_after=0, batch_size=256, steps_per_iteration=150, learning_rate=1e-3)


class ReflexConfig(Config):
    """Learns what plans begin with, so as to do it at once."""

    kind: Literal["none", "distilled"] = "none"
    hidden: PositiveInt = 256
    """Of its two layers."""
    teacher: Literal["cem", "mppi", "shooting", "gradient"] = "cem"
    """How the plans that it learns from are looked for; all else of them is as the agent's planner has it."""
    rollout: Annotated[int, Field(ge=0, le=100)] = 3
    """Blocks that it goes on by itself, as the model foresees, before the teacher is asked: from 0 to so many."""
    training: PartTraining = PartTraining(starts_after=5, batch_size=64, steps_per_iteration=40, learning_rate=1e-3)


class UpperConfig(Config):
    """A second level of the world model, in the same features: what a chunk of actions together makes of them."""

    kind: Literal["none", "chunks"] = "none"
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Of a chunk."""
    code: PositiveInt = 2
    """Numbers that a chunk is encoded in, which plans are made of."""
    hidden: PositiveInt = 64
    """Of the code's two layers; the predictor is as large as the world model's."""
    rollout: Annotated[int, Field(ge=1, le=1000)] = 3
    """Chunks that are predicted from the first frame of a training segment, one after another."""
    near: PositiveInt = 4
    """A goal is gone for directly once it is nearer than what so many steps change."""
    training: PartTraining = PartTraining(starts_after=0, batch_size=64, steps_per_iteration=150, learning_rate=1e-3)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (segment := self.rollout * self.steps) > LONGEST_SEGMENT:
            raise ValueError(f"rollout × steps: found {segment:,}, expected at most {LONGEST_SEGMENT:,}")
        if self.near > segment:
            raise ValueError(f"near: found {self.near}, expected at most rollout × steps, {segment}")
        return self

    def check_training_episode(self, longest: int) -> None:
        """Raises ValueError, in one line, if it would learn nothing from episodes of at most so many steps: after the
        last of them no frame is stored."""
        for name, steps in {"steps": self.steps, "near": self.near}.items():
            if steps >= longest:
                words = f"{name}: found {steps}, expected less than {longest}"
                raise ValueError(f"{words}, the steps of the longest training episode")


class UpperPlannerConfig(SearchConfig):
    """Looks for the codes of chunks whose outcome costs least; what `planner` calls actions are codes here."""

    kind: Literal["cem", "mppi", "shooting", "gradient"] = "mppi"
    blocks: Blocks = 6
    """Chunks of a plan."""
    samples: Samples = 100
    elites: PositiveInt = 8
    iterations: PositiveInt = 4
    every: PositiveInt = 1
    """Plans of the level below for each of its own."""


Colour = Literal["red", "green", "blue"]


TERMS = ("goal", "action", "smoothness", "reward", "end", "critic")
"""Of a cost, that have a weight."""
LARGEST_WEIGHT = 1_000_000
"""That one may be changed to."""


class CostConfig(Config):
    """What predicted steps cost: a weighted sum. A weight of 0 leaves a term out."""

    goal: NonNegativeFloat = 1.0
    """Mean squared distance of features from the goal's."""
    action: NonNegativeFloat = 0.0
    """Squared length of the action, in half ranges."""
    smoothness: NonNegativeFloat = 0.0
    """Squared length of its change."""
    reward: NonNegativeFloat = 0.0
    """Predicted reward, negative."""
    end: NonNegativeFloat = 0.0
    """Predicted probability that the episode is over."""
    critic: NonNegativeFloat = 0.0
    """What the critic expects after the last predicted step, added once, whatever the objective; `critic.kind` says in
    which unit."""
    zones: tuple[float, ...] = ()
    """Where it must not go: x, y and radius of discs in pixels of a frame, one after another. Every predicted step in
    one costs; that holds as far as the world model predicts right."""
    zone_weight: NonNegativeFloat = 20.0
    """Of each pixel inside."""
    zone_margin: NonNegativeFloat = 0.0
    """Pixels around a zone that cost as if they were inside."""

    def with_weights(self, weights: Mapping[str, float]) -> Self:
        """The same but for some weights. Raises ValueError, in one line, for what is no term or no weight."""
        for name, weight in weights.items():
            if name not in TERMS:
                raise ValueError(f"cost: found the term {name[:40]!r}, expected one of {', '.join(TERMS)}")
            if not 0 <= weight <= LARGEST_WEIGHT:
                raise ValueError(f"cost: found {name} = {weight:g}, expected 0 to {LARGEST_WEIGHT:,}")
        return self.model_copy(update=dict(weights))

    @field_validator("zones")
    @classmethod
    def _are_discs(cls, zones: tuple[float, ...]) -> tuple[float, ...]:
        if len(zones) % 3:
            raise ValueError(f"found {len(zones)} numbers, expected three of each zone: x, y and radius")
        if not all(isfinite(number) for number in zones) or min(zones[2::3], default=1.0) <= 0:
            raise ValueError(f"found {zones}, expected finite numbers, and radii above 0")
        return zones


def describe(planner: PlannerConfig, cost: CostConfig) -> str:
    """In a few words: kind, size, levels, objective, weights, outcomes. All else is among the settings."""
    size = f"{planner.blocks} × {planner.block_steps}" + (", two levels" if planner.levels == 2 else "")
    if planner.kind == "reflex":
        words = ["reflex", size]
    else:
        by_descent = planner.kind == "gradient"
        tried = planner.restarts if by_descent else planner.samples
        times = planner.gradient_steps if by_descent else planner.iterations
        words = [
            f"{planner.kind} {tried} × {times}" + (" from reflex" if planner.guess else ""),
            size,
            planner.objective,
        ]
        plain = CostConfig()
        weights = {term: getattr(cost, term) for term in TERMS}
        words += [f"{term} × {weight:g}" for term, weight in weights.items() if weight != getattr(plain, term)]
        words += [f"{planner.outcomes} outcomes + {planner.spread:g}"] if planner.outcomes > 1 else []
    words += [f"zones × {cost.zone_weight:g} + {cost.zone_margin:g}"] if cost.zones else []
    return ", ".join(words)
