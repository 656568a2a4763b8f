"""Settings of a joint-embedding world model and the agent that plans in it.

The defaults are those of a small model on `rooms`, for a CPU. Imports neither torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from learners.config import AlgorithmConfig, Config, PartTraining
from learners.dreaming.config import BurnIn, DreamerConfig
from learners.planning.config import (
    CostConfig,
    CriticConfig,
    PlannerConfig,
    ReflexConfig,
    UpperConfig,
    UpperPlannerConfig,
    describe,
)

if TYPE_CHECKING:
    from learners.action_space import ActionSpace
    from learners.jepa.jepa import Jepa


class RegulariserConfig(Config):
    """What keeps encodings from becoming all alike, which predicts best."""

    kind: Literal["vicreg", "ema", "sigreg", "none"] = "vicreg"
    """Variance, covariance, time similarity and inverse dynamics (Bardes et al. 2022, Sobal et al. 2025); predictions
    of what a slow copy of the encoder sees, with inverse dynamics (Grill et al. 2020); features that are Gaussian in
    every direction (Balestriero and LeCun 2025); or nothing, to see a collapse."""
    variance: NonNegativeFloat = 16.0
    """vicreg: of mean over features of max(0, 1 − √(variance + 1e-4))."""
    covariance: NonNegativeFloat = 8.0
    """vicreg: of the mean squared covariance of two different features."""
    similarity: NonNegativeFloat = 2.0
    """vicreg: of the mean squared change of features in a step."""
    inverse_dynamics: NonNegativeFloat = 1.0
    """vicreg, ema: of the error of the action that is read from features before and after it."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    """ema: how far the copy moves towards the encoder in a gradient step."""
    gaussian: NonNegativeFloat = 0.1
    """sigreg: of the distance from a Gaussian."""
    directions: Annotated[int, Field(ge=1, le=100_000)] = 256
    """sigreg: along which that is measured, drawn anew in every gradient step."""


class LatentConfig(Config):
    """What no action decides: which of several outcomes a step has (LeCun 2022, §4.4)."""

    codes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Outcomes that are told apart; with 1 there is nothing to tell. The fewer, the less can be hidden in them."""
    idle: NonNegativeFloat = 0.01
    """Of the error of all codes beside that of the best, so that those which are never the best stay near."""


class WorldModelConfig(Config):
    """Encoder of frames, predictor of the next frame's features, and inverse model of the action between."""

    features: PositiveInt = 128
    """D."""
    channels: PositiveInt = 32
    """Of the encoder's three convolutions, on patches of 4 × 4 pixels."""
    hidden: PositiveInt = 256
    """Of the predictor's and the inverse model's two layers."""
    rollout: Annotated[int, Field(ge=1, le=1000)] = 6
    """Steps that are predicted from the first frame of a training segment, one after another."""
    regulariser: RegulariserConfig = RegulariserConfig()
    latent: LatentConfig = LatentConfig()
    training: PartTraining = PartTraining(
        starts_after=0, batch_size=48, steps_per_iteration=100, learning_rate=1e-3, max_gradient_norm=2.0
    )


class HeadsConfig(Config):
    """What is read off predicted features: reward, end, place. What they learn changes no feature."""

    hidden: PositiveInt = 128
    """Of their two layers."""
    place: Literal["none", "red", "green", "blue"] = "none"
    """Of what the place is read: the centre of mass of a colour of the frame. Zones are kept out of by it."""
    training: PartTraining = PartTraining(starts_after=0, batch_size=64, steps_per_iteration=50, learning_rate=1e-3)


class DecoderConfig(Config):
    """Frames drawn from features, for people; nothing learns from it."""

    channels: PositiveInt = 32
    training: PartTraining = PartTraining(starts_after=0, batch_size=32, steps_per_iteration=50, learning_rate=1e-3)


class ActorCriticConfig(DreamerConfig):
    """Recurrent policy and value on features, trained in imagination only."""

    hidden: PositiveInt = 128
    """Of the layer before the LSTM."""
    lstm_size: PositiveInt = 128
    burn_in: BurnIn = 4
    horizon: PositiveInt = 15
    entropy_weight: NonNegativeFloat = 0.01
    learn_after_end: bool = False
    training: PartTraining = PartTraining(starts_after=0, batch_size=64, steps_per_iteration=100, learning_rate=1e-3)


class AgentConfig(Config):
    """Acts: to a goal by planning, without one at random, in strides; or by a policy that learnt in dreams."""

    kind: Literal["planner", "policy"] = "planner"
    """`policy` trains the actor-critic as well."""
    planner: PlannerConfig = PlannerConfig()
    upper: UpperPlannerConfig = UpperPlannerConfig()
    """With `planner.levels` 2: how the upper one plans."""
    cost: CostConfig = CostConfig()
    turn: NonNegativeFloat = 0.4
    """Without a goal: standard deviation of the change of direction from step to step, in radians."""
    actor_critic: ActorCriticConfig = ActorCriticConfig()


class JepaConfig(AlgorithmConfig):
    """A joint-embedding predictive architecture: it predicts features, not pixels, and plans by what it predicts."""

    kind: str = "jepa"
    world_model: WorldModelConfig = WorldModelConfig()
    heads: HeadsConfig = HeadsConfig()
    decoder: DecoderConfig = DecoderConfig()
    critic: CriticConfig = CriticConfig()
    reflex: ReflexConfig = ReflexConfig()
    upper: UpperConfig = UpperConfig()
    agent: AgentConfig = AgentConfig()

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.agent.cost.zones and self.heads.place == "none":
            raise ValueError("agent.cost.zones: found some, expected none with heads.place none: nothing tells a place")
        if self.agent.cost.critic and self.critic.kind == "none":
            raise ValueError("agent.cost.critic: found a weight, expected 0 with critic.kind none: nobody learns it")
        if self.agent.planner.asks_reflex and self.reflex.kind == "none":
            raise ValueError("agent.planner: found one that asks a reflex, expected none with reflex.kind none")
        if self.agent.planner.levels == 2 and self.upper.kind == "none":
            raise ValueError("agent.planner.levels: found 2, expected 1 with upper.kind none: there is one level")
        if self.agent.planner.levels == 2 and not self.agent.cost.goal:
            raise ValueError("agent.planner.levels: found 2, expected 1 with agent.cost.goal 0: there is no goal")
        if self.agent.planner.outcomes > 1 and self.world_model.latent.codes == 1:
            words = f"agent.planner.outcomes: found {self.agent.planner.outcomes}, expected 1"
            raise ValueError(f"{words} with world_model.latent.codes 1: a step has one outcome")
        self._check_critic()
        kind, size = self.world_model.regulariser.kind, self.world_model.training.batch_size
        if kind in ("vicreg", "sigreg") and size < 2:
            raise ValueError(f"world_model.training.batch_size: found {size}, expected at least 2 with {kind}")
        for name in self._taught:
            if self.agent.cost.goal and (size := self.trainings[name].batch_size) < 2:
                words = f"{name}.training.batch_size: found {size}, expected at least 2"
                raise ValueError(f"{words}: goals are of the other segments")
        return self

    def _check_critic(self) -> None:
        cost, kind = self.agent.cost, self.critic.kind
        if kind in ("time", "quasimetric") and not cost.goal:
            raise ValueError(
                f"critic.kind: found {kind}, expected cost or none with agent.cost.goal 0: there is no goal"
            )
        if kind == "cost" and bool(cost.goal) == bool(cost.reward):
            words = f"agent.cost: found goal {cost.goal:g} and reward {cost.reward:g}, expected one of them to be 0"
            raise ValueError(f"{words} with critic.kind cost, and not the other")

        if plans := self.critic.rehearsal.plans:
            words = f"critic.rehearsal.plans: found {plans}, expected"
            if kind not in ("time", "cost") or not cost.goal:
                raise ValueError(f"{words} 0 without a critic of time or cost to goals: nobody else learns from plans")
            if plans > (size := self.critic.training.batch_size):
                raise ValueError(f"{words} at most critic.training.batch_size, {size}: they begin where segments do")
            try:
                self.critic.rehearsal.check_size(self.agent.planner.block_steps)
            except ValueError as error:
                raise ValueError(f"critic.rehearsal: {error}") from error

    @property
    def _taught(self) -> list[str]:
        """What learns from goals, if there are any."""
        return [name for name in ("critic", "reflex") if name in self.trainings]

    @property
    def trainings(self) -> dict[str, PartTraining]:
        parts = {"world_model": self.world_model, "heads": self.heads, "decoder": self.decoder}
        if self.critic.kind != "none":
            parts |= {"critic": self.critic}
        if self.reflex.kind != "none":
            parts |= {"reflex": self.reflex}
        if self.upper.kind != "none":
            parts |= {"upper": self.upper}
        if self.agent.kind == "policy":
            parts |= {"actor_critic": self.agent.actor_critic}
        return {name: part.training for name, part in parts.items()}

    @property
    def acting(self) -> str:
        return "policy" if self.agent.kind == "policy" else describe(self.agent.planner, self.agent.cost)

    def check_ranks(self, ranks: int) -> None:
        """Variance and covariance are sums over the batch, which add up; directions are drawn by each rank alone."""
        if ranks > 1 and self.world_model.regulariser.kind == "sigreg":
            raise ValueError(f"found {ranks}, expected 1 with regulariser.kind sigreg: it looks at the whole batch")
        if ranks > 1 and self._taught and self.agent.cost.goal:
            words = f"found {ranks}, expected 1 with a {self._taught[0]} of goals"
            raise ValueError(f"{words}: they are of the whole batch")
        if ranks > 1 and self.upper.kind != "none":
            raise ValueError(
                f"found {ranks}, expected 1 with an upper level: the extent of codes is of the whole batch"
            )

    def check_episode(self, longest: int) -> None:
        rehearsal = self.critic.rehearsal
        steps = rehearsal.planner.blocks * self.agent.planner.block_steps
        if rehearsal.plans and steps > longest:
            words = f"critic.rehearsal.planner.blocks × agent.planner.block_steps: found a plan of {steps} steps"
            raise ValueError(f"{words}, expected at most {longest}, those of the longest episode")
        if self.agent.kind == "planner":
            try:
                self.agent.planner.check_episode(longest)
            except ValueError as error:
                raise ValueError(f"agent.planner: {error}") from error
        if self.upper.kind != "none" and (strides := self.agent.upper.blocks * self.upper.steps) > longest:
            words = f"agent.upper.blocks × upper.steps: found a plan of {strides} steps"
            raise ValueError(f"{words}, expected at most {longest}, those of the longest episode")

    def check_training_episode(self, longest: int) -> None:
        if self.critic.kind in ("time", "cost") and self.critic.steps > longest:
            words = f"critic.steps: found {self.critic.steps}, expected at most {longest}"
            raise ValueError(f"{words}, those of the longest training episode")
        if self.upper.kind != "none":
            try:
                self.upper.check_training_episode(longest)
            except ValueError as error:
                raise ValueError(f"upper.{error}") from error

    def build(self, action_space: ActionSpace, *, record: bool = False) -> Jepa:
        from learners.jepa.jepa import Jepa

        return Jepa(self, action_space, record=record)


CONFIG = JepaConfig
