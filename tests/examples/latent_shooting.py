"""A complete algorithm in one file: a small recurrent model of what actions earn, and an actor that shoots with it.

    python -m pipeline.train latent-shooting --allow-module tests.examples.latent_shooting

An encoder turns a frame into a latent state; a GRU carries the state on under actions; a head reads off reward and end.
There are no tokens, no decoder and no policy network: the actor imagines random sequences of actions from the state it
sees, adds up what they would earn, and takes the first action of the best.

Legend: B batch or environments, T steps, K sequences tried, D features, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor, nn

from learners.action_space import Actions, ActionSpace, Discrete
from learners.catalogue import Preset, add_presets, register
from learners.config import AlgorithmConfig, PartTraining, Probability
from learners.dataset import Dataset
from learners.drawing import UniformDrawing
from learners.inspection import Inspection, held_out
from learners.part import Derived, Losses, Part, Segments, masked_mean, to_unit


class LatentShootingConfig(AlgorithmConfig):
    """A recurrent latent model, and random shooting."""

    kind: str = "latent-shooting"
    features: PositiveInt = 64
    horizon: PositiveInt = 9
    """Steps that are imagined, in training and in acting."""
    sequences: PositiveInt = 64
    """Of actions, that are tried for every action that is taken."""
    discount: Probability = 0.95
    training: PartTraining = PartTraining(starts_after=0, batch_size=32, steps_per_iteration=100, learning_rate=2e-3)

    @property
    def trainings(self) -> dict[str, PartTraining]:
        return {"model": self.training}

    def build(self, action_space: ActionSpace, *, record: bool = False) -> LatentShooting:
        return LatentShooting(self, action_space)


class Model(nn.Module):
    def __init__(self, features: int, action_space: ActionSpace) -> None:
        super().__init__()
        self.action_space = action_space
        self.encoder = nn.Sequential(
            nn.AvgPool2d(4),  # (B, 3, 64, 64) -> (B, 3, 16, 16)
            nn.Flatten(),
            nn.Linear(768, features),
            nn.ReLU(),
            nn.Linear(features, features),
            nn.Tanh(),
        )
        size = action_space.count if isinstance(action_space, Discrete) else len(action_space.low)
        self.transition = nn.GRUCell(size, features)
        self.outcome = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, 2))

    def forward(self, frames: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards (B, T) and logits of ends (B, T) under actions (B, T) or (B, T, A) after frames (B, 3, 64, 64)."""
        state, outcomes = self.encoder(to_unit(frames)), []
        if isinstance(self.action_space, Discrete):
            actions = F.one_hot(actions, self.action_space.count).float()  # (B, T, A)
        for action in actions.unbind(1):
            state = self.transition(action, state)
            outcomes.append(self.outcome(state))
        rewards, ends = torch.stack(outcomes, dim=1).unbind(2)  # (B, T, 2) -> twice (B, T)
        return rewards, ends


class Shooter:
    """Looks no further back than the frame it sees, so its state is nothing."""

    history = 0

    def __init__(self, model: Model, config: LatentShootingConfig) -> None:
        self._model = model
        self._config = config

    def initial_state(self, batch_size: int) -> None: ...

    def burn_in(self, frames: NDArray[np.uint8], actions: Actions, mask: NDArray[np.bool_]) -> None: ...

    @torch.no_grad()
    def act(
        self, frames: NDArray[np.uint8], state: None, generator: np.random.Generator, *, temperature: float
    ) -> tuple[Actions, None]:
        """The first action of the best sequence; Gumbel noise of that temperature, in hundredths, breaks ties."""
        config, device = self._config, next(self._model.parameters()).device
        shape = (len(frames), config.sequences, config.horizon)
        actions = torch.from_numpy(self._model.action_space.sample(generator, shape)).to(device)  # (B, K, T, ...)
        noise = torch.from_numpy(generator.gumbel(size=shape[:2])).to(device)  # (B, K)
        repeated = torch.from_numpy(frames).to(device).repeat_interleave(config.sequences, dim=0)
        rewards, ends = self._model(repeated, actions.flatten(0, 1))  # (B*K, T)
        alive = (1.0 - ends.sigmoid()).cumprod(dim=1).roll(1, dims=1)  # that the game went on until then
        alive[:, 0] = 1.0
        discounts = config.discount ** torch.arange(config.horizon, device=device)  # (T,)
        returns = (rewards * alive * discounts).sum(dim=1).view(shape[:2])  # (B, K)
        best = (returns + 0.01 * temperature * noise).argmax(dim=1)  # (B,)
        return actions[torch.arange(len(frames), device=device), best, 0].cpu().numpy(), None


class LatentShooting:
    derived: Mapping[str, Derived]

    def __init__(self, config: LatentShootingConfig, action_space: ActionSpace) -> None:
        self.config = config
        self.model = Model(config.features, action_space)
        self.derived = {}

    @property
    def parts(self) -> tuple[Part, ...]:
        model = Part(
            name="model",
            module=self.model,
            training=self.config.training,
            drawing=UniformDrawing(self.config.horizon, anchor="start"),
            columns=("frames",),
            loss=self._loss,
        )
        return (model,)

    def acting_modules(self) -> Mapping[str, nn.Module]:
        return {"model": self.model}

    def actor(self) -> Shooter:
        return Shooter(self.model, self.config)

    def inspect(self, dataset: Dataset, iteration: int, generator: torch.Generator) -> Inspection:
        is_new = dataset.newest_iteration == iteration
        return Inspection(held_out(self.parts, dataset, generator) if is_new else {}, pictures={})

    def _loss(self, segments: Segments, noise: Tensor) -> Losses:
        """Squared error of rewards and cross-entropy of ends, from the first frame of each segment on."""
        rewards, ends = self.model(segments.columns["frames"][:, 0], segments.actions)
        errors = (rewards - segments.rewards).square()
        surprise = F.binary_cross_entropy_with_logits(ends, segments.ends.float(), reduction="none")
        terms = {"rewards": masked_mean(errors, segments.mask), "ends": masked_mean(surprise, segments.mask)}
        return Losses(terms, {"reward_error": masked_mean(errors.detach().sqrt(), segments.mask).value})


PRESETS = {
    "latent-shooting": Preset(
        "Catch, shooting with a model of what actions earn: seconds an iteration.",
        {
            "algorithm": LatentShootingConfig(),
            "env": {"kind": "catch"},
            "iterations": 12,
            "collection": {"last_iteration": 12, "epsilon": 0.1},
            "evaluation": {"every": 4, "episodes": 20, "final_episodes": 50, "envs_per_evaluator": 10},
        },
    )
}
register(LatentShootingConfig)
add_presets(PRESETS)
