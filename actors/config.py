"""Settings of acting: environments, collection, evaluation. Imports neither torch, numpy nor gymnasium."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from actors.envs.games import check_game
from learners.config import FRAME_SIZE, MAY_CHANGE, Config, KindConfig, Kinds, Probability

if TYPE_CHECKING:
    from actors.envs.environment import Environment

EvaluationProtocol = dict[str, str | int | float | bool]

Channels = Literal["colours", "moments"]

ALE_MAX_FRAMES = 108_000
"""Raw frames after which the `NoFrameskip-v4` ids end a game: half an hour of play at 60 Hz."""


class EnvironmentConfig(KindConfig):
    """Base of an environment's settings."""

    @property
    @abstractmethod
    def evaluation_protocol(self) -> EvaluationProtocol:
        """All of an evaluation that these settings decide, for who reads a score."""

    @property
    def longest_episode(self) -> int | None:
        """Agent steps that no episode of an evaluation has more of; None if that is not known."""
        return None

    @property
    def longest_training_episode(self) -> int | None:
        """The same in training."""
        return self.longest_episode

    @abstractmethod
    def build(self, seed: int, *, evaluation: bool = False) -> Environment:
        """The environment, for training or as it is played to score a policy. Raises ValueError if there is none."""


class AtariConfig(EnvironmentConfig):
    """Atari by the published protocol: `{game}NoFrameskip-v4`, no sticky actions, minimal action set."""

    kind: str = "atari"
    game: str = "Pong"
    """CamelCase name, as in `PongNoFrameskip-v4`."""
    frame_skip: PositiveInt = 4
    """Raw frames per agent step."""
    max_noops: PositiveInt = 30
    """A training episode starts after 1..max_noops raw no-op frames, an evaluation episode after exactly one."""
    max_frames: Annotated[int, Field(gt=0, le=ALE_MAX_FRAMES)] = 20_000
    """Training: limit in raw frames since the last true reset, no-ops and all lives included."""
    evaluation_max_frames: Annotated[int, Field(gt=0, le=ALE_MAX_FRAMES)] = ALE_MAX_FRAMES
    """Evaluation: the same limit; the `NoFrameskip-v4` ids themselves end a game there."""
    ends_on_life_loss: bool = True
    """Training: a lost life (while lives remain) ends the episode; the game goes on."""
    channels: Channels = "colours"
    """Of a frame: its colours (published), or its brightness at the last three steps, which shows what moves."""

    @field_validator("game")
    @classmethod
    def _known(cls, game: str) -> str:
        return check_game(game)

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {
            "environment": "NoFrameskip-v4",
            "action set": "minimal",
            "sticky actions": False,
            "frame skip": self.frame_skip,
            "no-ops": 1,
            "frames at most": self.evaluation_max_frames,
            "ends on life loss": False,
            "channels": self.channels,
        }

    def build(self, seed: int, *, evaluation: bool = False) -> Environment:
        from actors.envs.atari import Atari

        return _seen(self.channels, Atari(self, seed, evaluation=evaluation))


class CrafterConfig(EnvironmentConfig):
    """Crafter (Hafner 2021) with reward."""

    kind: str = "crafter"
    max_steps: PositiveInt = 10_000
    """Time limit in agent steps, training and evaluation alike."""

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {"environment": "Crafter with reward", "steps at most": self.max_steps}

    def build(self, seed: int, *, evaluation: bool = False) -> Environment:
        from actors.envs.crafter import Crafter

        return Crafter(self, seed)


class CatchConfig(EnvironmentConfig):
    """Catch (bsuite): a ball falls down a 10×5 board, the paddle in the bottom row must be under it; reward ±1."""

    kind: str = "catch"
    rows: Annotated[int, Field(ge=2, le=FRAME_SIZE)] = 10
    """At least two, so that there is a fall; no cell is smaller than a pixel."""
    columns: Annotated[int, Field(ge=1, le=FRAME_SIZE)] = 5

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {"environment": f"Catch {self.rows}×{self.columns}"}

    @property
    def longest_episode(self) -> int:
        return self.rows - 1

    def build(self, seed: int, *, evaluation: bool = False) -> Environment:
        from actors.envs.catch import Catch

        return Catch(self, seed)


class RoomsConfig(EnvironmentConfig):
    """A dot moves between walls with doors; scored by how often it reaches a place in another room."""

    kind: str = "rooms"
    layout: Literal["two_rooms", "three_rooms", "pldm"] = "two_rooms"
    """One wall; two walls, whose doors are far apart; the two rooms of PLDM (Sobal et al. 2025), scaled to 64 pixels,
    with a narrower door and shorter moves."""
    walls: Literal["fixed", "random"] = "fixed"
    """Random: in every episode each wall stands up to 6 pixels to either side of its place, and its door anywhere."""
    training_steps: PositiveInt = 64
    """Training: agent steps of an episode, which has no goal."""
    door_starts: Probability = 0.25
    """Training: share of the episodes that start near a door."""
    evaluation_steps: PositiveInt = 60
    """Evaluation: the budget, in agent steps."""
    radius: PositiveFloat = 4.5
    """Evaluation: pixels from the goal within which it is reached."""
    success: Literal["ever", "at the end"] = "ever"
    """Evaluation: whether the first step within the radius ends the episode, or only the last one counts."""
    lost: Probability = 0.0
    """How often a move does not happen."""
    doubled: Probability = 0.0
    """How often it happens twice."""

    @model_validator(mode="after")
    def _slips_at_most_always(self) -> Self:
        if (slips := self.lost + self.doubled) > 1.0:
            raise ValueError(f"lost + doubled: found {slips:g}, expected at most 1")
        return self

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {
            "environment": f"rooms, layout {self.layout}, walls {self.walls}",
            "steps at most": self.evaluation_steps,
            "success": f"within {self.radius:g} of {FRAME_SIZE} pixels, {self.success}",
            "start and goal": "uniform, in the first and the last room, either way",
            **({"moves": f"{self.lost:g} lost, {self.doubled:g} doubled"} if self.lost or self.doubled else {}),
        }

    @property
    def longest_episode(self) -> int:
        return self.evaluation_steps

    @property
    def longest_training_episode(self) -> int:
        return self.training_steps

    def build(self, seed: int, *, evaluation: bool = False) -> Environment:
        from actors.envs.rooms import Rooms

        return Rooms(self, seed, evaluation=evaluation)


class GymConfig(EnvironmentConfig):
    """Any Gymnasium environment with images, and actions that are Discrete or in a bounded Box of floats."""

    kind: str = "gym"
    id: str = ""
    """Gymnasium id, `module:Name-v0` to import the module that registers it."""
    frames: Literal["observed", "rendered"] = "observed"
    """The observations, which must be images; or what the environment draws of itself, whatever it lets observe."""
    channels: Channels = "colours"
    """Of a frame: its colours, or its brightness at the last three steps, which shows what moves."""

    @property
    def module(self) -> str:
        """That building the environment imports by name; "" if the id names none."""
        return self.id.rpartition(":")[0]

    @property
    def evaluation_protocol(self) -> EvaluationProtocol:
        return {"environment": "as registered with Gymnasium", "frames": self.frames, "channels": self.channels}

    def build(self, seed: int, *, evaluation: bool = False) -> Environment:
        from actors.envs.gym import Gym

        return _seen(self.channels, Gym(self, seed))


def _seen(channels: Channels, environment: Environment) -> Environment:
    from actors.envs.moments import Moments

    return Moments(environment) if channels == "moments" else environment


ENVIRONMENTS: Kinds[EnvironmentConfig] = Kinds(
    lambda: (AtariConfig, CrafterConfig, CatchConfig, RoomsConfig, GymConfig)
)
"""Where a module registers an environment of its own."""
AnyEnvironment = Annotated[SerializeAsAny[EnvironmentConfig], BeforeValidator(ENVIRONMENTS.choose)]
"""Type of a field that holds the settings of some environment."""


Several = Annotated[int, Field(gt=0, le=10_000)]
"""Processes, or environments of one: no more than a cluster may have."""


class CollectionConfig(Config):
    """How experience is gathered. Counts are agent steps (one is `frame_skip` raw frames in Atari)."""

    steps_per_iteration: PositiveInt = 200
    """Over all environments."""
    first_steps: NonNegativeInt = 0
    """Of iteration 1, with uniformly random actions; 0 is as many as in the others, with the policy's actions."""
    last_iteration: NonNegativeInt = 500
    """No steps are collected after this iteration."""
    num_collectors: Several = 1
    envs_per_collector: Several = 1
    env_processes: Annotated[NonNegativeInt, MAY_CHANGE] = 0
    """Processes that step the environments of each collector, as many at most as it has environments and CPUs; with 0
    or 1, it steps them itself. Worth it where stepping takes longer than acting; changes no result."""
    epsilon: Probability = 0.01
    """Chance of a uniformly random action: one coin per step for all environments of a collector."""
    temperature: PositiveFloat = 1.0

    @property
    def num_envs(self) -> int:
        return self.num_collectors * self.envs_per_collector

    def steps_in(self, iteration: int) -> int:
        """Steps that an iteration collects."""
        if iteration > self.last_iteration:
            return 0
        return self.first_steps if iteration == 1 and self.first_steps else self.steps_per_iteration

    def epsilon_in(self, iteration: int) -> float:
        return 1.0 if iteration == 1 and self.first_steps else self.epsilon


class EvaluationConfig(Config):
    """How the policy is scored: whole episodes, in lock step."""

    every: PositiveInt = 5
    """Iterations between evaluations."""
    episodes: PositiveInt = 16
    final_episodes: PositiveInt = 100
    """Episodes after the last iteration."""
    envs_per_evaluator: Several = 8
    """Episodes played side by side by one evaluator; part of the protocol, since a batch has a fixed shape."""
    num_evaluators: Annotated[Several, MAY_CHANGE] = 1
    """Processes; changes no result."""
    epsilon: Probability = 0.0
    temperature: PositiveFloat = 0.5
