"""A joint-embedding world model behind the seam of `learners/algorithm.py`, and an agent that plans in it.

Legend: N frames, B segments, L frames of each, K predicted steps, D features, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from learners.action_space import ActionSpace, num_actions_of
from learners.config import FRAME_SIZE
from learners.dataset import Dataset
from learners.drawing import UniformDrawing
from learners.dreaming.actor_critic import ActorCritic
from learners.dreaming.imagination import actor_critic_part
from learners.dreaming.inspection import take_pictures
from learners.dreaming.policy import PolicyActor
from learners.errors import AlgorithmError
from learners.inspection import Inspection, held_out
from learners.jepa.config import JepaConfig
from learners.jepa.inspection import inspect_features
from learners.jepa.losses import (
    Chances,
    chances,
    covariance_term,
    gaussian_term,
    predictions,
    spread,
    squared_error,
    variance_term,
)
from learners.jepa.networks import Decoder, Heads, Predictor, WorldModel, feature_actor_critic
from learners.part import Derived, Losses, Mean, Part, Segments, Statistic, masked_mean, mean, to_unit
from learners.planning.actor import PlanningActor
from learners.planning.config import TERMS, CostConfig, PlannerConfig, SearchConfig
from learners.planning.cost import Costs
from learners.planning.critic import critic_of
from learners.planning.dream import LatentDream
from learners.planning.numbers import Numbers, one_hot
from learners.planning.place import centre_of_mass
from learners.planning.plan import Task
from learners.planning.reflex import Reflex
from learners.planning.rehearsal import Rehearsal
from learners.planning.upper import Upper, UpperPlanner
from learners.planning.value_critic import ValueCritic


class Jepa:
    dream_parts: tuple[str, ...] = ("world_model", "heads")
    dream_columns: tuple[str, ...] = ("features",)

    def __init__(self, config: JepaConfig, action_space: ActionSpace, *, record: bool = False) -> None:
        """With `record`, imagination may become a CUDA graph.

        Raises: AlgorithmError if a policy is to choose from actions that are numbers.
        """
        self.config = config
        self._record = record
        self.planner, self.cost = config.agent.planner, config.agent.cost
        self.feature_shape = (config.world_model.features,)
        self._numbers = Numbers(action_space)
        self.noise_per_step = 1 if config.world_model.latent.codes == 1 else 2  # for the end, and for the outcome
        self.world_model = WorldModel(config.world_model, self._numbers.count)
        self.heads = Heads(config.world_model.features, config.heads)
        self.decoder = Decoder(config.world_model.features, config.decoder.channels)
        self.tells_places = self.heads.places is not None
        size, has_goals = config.world_model.features, self.cost.goal > 0
        self.critic = critic_of(config.critic, size, has_goals=has_goals)
        self.rehearsal: Rehearsal | None = None
        if config.critic.rehearsal.plans:
            assert isinstance(self.critic, ValueCritic)
            self.rehearsal = Rehearsal(self.critic, self.planner.block_steps, size, self._numbers)
            self._check_kind(config.critic.rehearsal.planner)
        self.reflex: Reflex | None = None
        if config.reflex.kind != "none":
            self.reflex = Reflex(config.reflex, self.planner, size, self._numbers, has_goals=has_goals)
            self._check_kind(self.reflex.teacher)
        self.upper: Upper | None = None
        if config.upper.kind != "none":
            self.upper = Upper(config.upper, Predictor(config.world_model, config.upper.code), self._numbers)
        self.planning_actor(self.planner, self.cost)  # or it is refused
        self.actor_critic: ActorCritic | None = None
        if config.agent.kind == "policy":
            num_actions = num_actions_of(action_space, f"{config.kind} with agent.kind policy")
            self.actor_critic = feature_actor_critic(config.agent.actor_critic, self.feature_shape[0], num_actions)

    @property
    def parts(self) -> tuple[Part, ...]:
        settings = self.config.world_model
        parts = (
            Part(
                name="world_model",
                module=self.world_model,
                training=settings.training,
                drawing=UniformDrawing(settings.rollout + 1, anchor="start"),
                columns=("frames",),
                loss=self._loss,
                noise=self._noise,
                after_step=self.world_model.follow if self.world_model.teacher else None,
            ),
            Part(
                name="heads",
                module=self.heads,
                training=self.config.heads.training,
                drawing=UniformDrawing(settings.rollout + 1, anchor="start"),
                columns=("features", "frames") if self.tells_places else ("features",),
                loss=self._heads_loss,
            ),
            Part(
                name="decoder",
                module=self.decoder,
                training=self.config.decoder.training,
                drawing=UniformDrawing(1, anchor="start"),
                columns=("frames", "features"),
                loss=self._decoder_loss,
            ),
        )
        if self.critic is not None:
            parts = (*parts, self._critic_part(self.critic.part))
        if self.reflex is not None:
            parts = (*parts, self._reflex_part(self.reflex))
        if self.upper is not None:
            parts = (*parts, self.upper.part)
        if self.actor_critic is None:
            return parts
        policy = self.config.agent.actor_critic
        drawing = UniformDrawing(policy.burn_in + 1, anchor="end")
        return (*parts, actor_critic_part(self.actor_critic, self, policy, drawing, record=self._record))

    def _critic_part(self, part: Part) -> Part:
        rehearsal = self.rehearsal
        if rehearsal is None:
            return part
        noise = (1, rehearsal.uniforms)
        return replace(part, module=rehearsal, loss=self._rehearsal_loss, noise=noise, after_step=rehearsal.follow)

    def _reflex_part(self, reflex: Reflex) -> Part:
        return Part(
            name="reflex",
            module=reflex,
            training=reflex.config.training,
            drawing=UniformDrawing(1, anchor="start"),
            columns=("features",),
            loss=self._reflex_loss,
            noise=(1, reflex.uniforms),
            in_full_precision=True,
        )

    @property
    def _noise(self) -> tuple[int, int]:
        """Of the part: as much for each segment as makes the directions of `sigreg` in all."""
        settings = self.config.world_model
        weights = settings.regulariser
        per_segment = -(-weights.directions * settings.features // settings.training.batch_size)
        return (1, per_segment) if weights.kind == "sigreg" else (0, 0)

    @property
    def derived(self) -> Mapping[str, Derived]:
        return {"features": Derived("world_model", self._features)}

    def acting_modules(self) -> Mapping[str, nn.Module]:
        if self.actor_critic is not None:
            return {"world_model": self.world_model, "actor_critic": self.actor_critic}
        acting: dict[str, nn.Module] = {"world_model": self.world_model, "heads": self.heads}
        learnt = {"critic": self.critic, "reflex": self.reflex, "upper": self.upper}
        return acting | {name: module for name, module in learnt.items() if module is not None}

    def actor(self) -> PlanningActor | PolicyActor:
        agent = self.config.agent
        if self.actor_critic is not None:
            return PolicyActor(self, self.actor_critic, agent.actor_critic.burn_in)
        return self.planning_actor(self.planner, self.cost)

    def planning_actor(self, planner: PlannerConfig, cost: CostConfig) -> PlanningActor:
        if cost.zones and not self.tells_places:
            raise AlgorithmError("zones: found some, expected none with heads.place none: nothing tells a place")
        self._check_kind(planner)
        if not (cost.zones or any(getattr(cost, term) for term in TERMS)):
            raise AlgorithmError("cost: found every weight 0, expected one above 0")
        if cost.critic and self.critic is None:
            raise AlgorithmError("critic: found a weight, expected 0 with critic.kind none: nobody has learnt it")
        if cost.critic and self.critic is not None and cost.goal and not self.critic.has_goals:
            raise AlgorithmError("cost.goal: found a weight, expected 0 beside a critic that has learnt of no goals")
        if planner.asks_reflex and self.reflex is not None and self.reflex.has_goals != (cost.goal > 0):
            words = "found a weight" if cost.goal else "found 0"
            raise AlgorithmError(f"cost.goal: {words}, expected as it was when the reflex was taught")
        if planner.asks_reflex and self.reflex is None:
            raise AlgorithmError("planner: found one that asks a reflex, expected none with reflex.kind none")
        if planner.kind == "reflex" and cost != self.cost:
            raise AlgorithmError("planner reflex: found another cost than it was taught by, expected the agent's own")
        if planner.outcomes > 1 and self.world_model.prior is None:
            words = f"planner.outcomes: found {planner.outcomes}, expected 1"
            raise AlgorithmError(f"{words} with world_model.latent.codes 1: a step has one outcome")
        if planner.levels == 2 and self.upper is None:
            raise AlgorithmError("planner.levels: found 2, expected 1 with upper.kind none: there is one level")
        if planner.levels == 2 and not cost.goal:
            raise AlgorithmError("planner.levels: found 2, expected 1 without a weight of the goal's distance")
        agent, costs = self.config.agent, self._costs(cost)
        upper = None if self.upper is None else UpperPlanner(self.upper, agent.upper, costs)
        return PlanningActor(
            self.world_model, planner, costs, self._numbers, turn=agent.turn, reflex=self.reflex, upper=upper
        )

    def _check_kind(self, planner: SearchConfig) -> None:
        if planner.kind == "mppi" and not self._numbers.is_box:
            raise AlgorithmError("planner mppi: found one of several actions, expected numbers; cem does the same")

    def observe(self, frames: Tensor) -> Tensor:
        return self.world_model.encode(frames)

    def foresee(self, features: Tensor, actions: Tensor, uniforms: Tensor | None = None) -> Tensor:
        return self.world_model.predict(features, self._numbers.of(actions), uniforms)

    def context_features(self, context: Segments) -> Tensor:
        return context.columns["features"]  # (B, T, D)

    def dream(self, context: Segments) -> LatentDream:
        return LatentDream(self.world_model, self.heads, self._numbers, context.columns["features"][:, -1])

    def dreamt_rewards(self, rewards: Tensor) -> Tensor:
        return rewards.sign()

    def render(self, features: Tensor) -> Tensor:
        return self.decoder(features).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)

    def inspect(self, dataset: Dataset, iteration: int, generator: torch.Generator) -> Inspection:
        is_new = dataset.newest_iteration == iteration
        places = self.places_in if self.tells_places else None
        look = inspect_features(self.world_model, self._numbers, dataset, places, self.place)
        supervised = self.parts[: len(self.parts) - (self.actor_critic is not None)]
        metrics = look.metrics | (held_out(supervised, dataset, generator) if is_new else {})
        pictures = take_pictures(self, dataset, generator)
        return replace(look, metrics=metrics, pictures={**look.pictures, **pictures})

    def _features(self, steps: Segments) -> Tensor:
        return self.world_model.encode(steps.columns["frames"].squeeze(1))  # (N, D) of N segments of one step

    def _loss(self, segments: Segments, noise: Tensor) -> Losses:
        settings, model, mask = self.config.world_model, self.world_model, segments.mask
        frames = segments.columns["frames"]
        frames = torch.where(mask[..., None, None, None], frames, frames[:, :1])  # no statistic sees padding
        features = model.encode(frames.flatten(0, 1)).unflatten(0, mask.shape)  # (B, L, D)
        actions = self._numbers.of(segments.actions)  # (B, L, A)
        with torch.no_grad():
            slow = model.teacher and model.teacher(frames.flatten(0, 1)).unflatten(0, mask.shape)
        targets = features if slow is None else slow
        turns = None
        if model.prior is not None:
            turns = chances(model.outcomes, features.detach(), actions, targets.detach())
        codes = turns and turns.codes
        predicted = predictions(model.predict_by, features[:, 0], actions, settings.rollout, codes)  # (B, K, D)
        pairs = mask[:, 1:] & mask[:, :-1]
        terms: dict[str, Mean | Statistic] = {"prediction": squared_error(predicted, targets[:, 1:], pairs)}
        if turns is not None:
            terms |= self._chances(turns, features.detach(), actions, pairs)
        with torch.no_grad():
            metrics = self._metrics(predicted, features, actions, pairs, codes)
            metrics["mean_std"] = spread(features.flatten(0, 1), mask.flatten())
        return Losses(terms | self._apart(features, actions, pairs, mask, noise), metrics)

    def _chances(self, turns: Chances, features: Tensor, actions: Tensor, pairs: Tensor) -> dict[str, Mean]:
        """What teaches the prior which code was the best, and keeps the others near."""
        assert self.world_model.prior is not None
        logits = self.world_model.prior(torch.cat([features, actions], dim=-1)[:, :-1])  # (B, L − 1, C)
        crossentropy = nn.functional.cross_entropy(logits.flatten(0, 1), turns.codes.flatten(), reduction="none")
        return {
            "prior": masked_mean(crossentropy.view_as(turns.codes), pairs),
            "idle": masked_mean(turns.errors, pairs).times(self.config.world_model.latent.idle),
        }

    def _apart(
        self, features: Tensor, actions: Tensor, pairs: Tensor, mask: Tensor, noise: Tensor
    ) -> dict[str, Mean | Statistic]:
        """What keeps features (B, L, D) from becoming all alike."""
        weights, rows, real = self.config.world_model.regulariser, features.flatten(0, 1), mask.flatten()
        terms: dict[str, Mean | Statistic] = {}
        if weights.kind == "vicreg":
            terms["variance"] = variance_term(rows, real, weights.variance)
            terms["covariance"] = covariance_term(rows, real, weights.covariance)
            terms["similarity"] = squared_error(features[:, 1:], features[:, :-1], pairs).times(weights.similarity)
        if weights.kind in ("vicreg", "ema"):
            inverse = self.world_model.inverse(torch.cat([features[:, :-1], features[:, 1:]], dim=-1))
            terms["inverse_dynamics"] = squared_error(inverse, actions[:, :-1], pairs).times(weights.inverse_dynamics)
        if weights.kind == "sigreg":
            size = features.shape[-1]
            numbers = noise.flatten()[: noise.numel() // size * size].clamp(1e-6, 1.0 - 1e-6)
            directions = torch.special.ndtri(numbers).unflatten(0, (-1, size))  # (M, D)
            directions = directions / directions.norm(dim=1, keepdim=True)
            terms["gaussian"] = gaussian_term(rows, real, directions, weights.gaussian)
        return terms

    def _heads_loss(self, segments: Segments, noise: Tensor) -> Losses:
        """On predictions from the first frame on, which is where they are read."""
        features, actions = segments.columns["features"], self._numbers.of(segments.actions)
        with torch.no_grad():
            rollout, codes = self.config.world_model.rollout, self._codes(features, actions, segments.mask)
            predicted = predictions(self.world_model.predict_by, features[:, 0], actions, rollout, codes)
        rewards, ends = self.heads(predicted)  # (B, K) each
        mask, real_ends = segments.mask[:, :-1], segments.ends[:, :-1].float()
        crossentropy = nn.functional.binary_cross_entropy_with_logits(ends, real_ends, reduction="none")
        terms = {
            "rewards": masked_mean((rewards - segments.rewards[:, :-1].sign()).square(), mask),
            "ends": masked_mean(crossentropy, mask),
        }
        if not self.tells_places:
            return Losses(terms, {})
        places, is_there = self.places_in(segments.columns["frames"][:, 1:])  # (B, K, 2), (B, K)
        is_there = is_there & segments.mask[:, 1:]
        found = self.heads.place(predicted)
        half = FRAME_SIZE / 2
        terms["places"] = masked_mean(((found - places) / half).square().mean(dim=-1), is_there)
        distances = masked_mean((found.detach() - places).norm(dim=-1), is_there)
        return Losses(terms, {"place_error": distances.value})

    def _codes(self, features: Tensor, actions: Tensor, mask: Tensor) -> Tensor | None:
        """(B, L − 1): how each step turned out; of a last one, after which nothing is stored, what is likeliest."""
        model = self.world_model
        if model.prior is None:
            return None
        likeliest = model.prior(torch.cat([features, actions], dim=-1)[:, :-1]).argmax(dim=-1)
        return torch.where(mask[:, 1:], chances(model.outcomes, features, actions, features).codes, likeliest)

    def places_in(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        colour = self.config.heads.place
        assert colour != "none"
        return centre_of_mass(frames, colour)

    def place(self, features: Tensor) -> Tensor:
        return self.heads.place(features)

    def _rehearsal_loss(self, segments: Segments, noise: Tensor) -> Losses:
        """Goals are where the other segments are."""
        assert self.rehearsal is not None
        plans, features = self.rehearsal.config.plans, segments.columns["features"][:, 0].float()  # (B, D)
        start, goals = features[:plans], features.roll(1, 0)[:plans]
        cost = self._costs(self.cost).to(goals, self.rehearsal.config.planner.objective)
        task = Task(self.world_model, start, cost, self.planner.block_steps)
        return self.rehearsal.loss(segments, task, goals, noise)

    def _reflex_loss(self, segments: Segments, noise: Tensor) -> Losses:
        """Goals are where the other segments are."""
        assert self.reflex is not None
        features = segments.columns["features"][:, 0].float()  # (B, D)
        goals = features.roll(1, 0) if self.reflex.has_goals else None
        cost = self._costs(self.cost).to(goals, self.planner.objective)
        return self.reflex.loss(Task(self.world_model, features, cost, self.planner.block_steps), goals, noise)

    def _costs(self, cost: CostConfig) -> Costs:
        place = self.place if self.tells_places else None
        return Costs(cost, self.heads, self.critic if cost.critic else None, place)

    def _decoder_loss(self, segments: Segments, noise: Tensor) -> Losses:
        frames = to_unit(segments.columns["frames"].squeeze(1))  # (B, 3, 64, 64): segments of one step have no padding
        drawn = self.decoder(segments.columns["features"].squeeze(1))
        return Losses({"pixels": mean((drawn - frames).square())}, {})

    def _metrics(
        self, predicted: Tensor, features: Tensor, actions: Tensor, pairs: Tensor, codes: Tensor | None
    ) -> dict[str, Tensor]:
        """Error of one step against features' variance, how much worse it is with the actions of others, and how many
        codes are in use, exp of the entropy of their shares."""
        one, before, after = pairs[:, :1], features[:, 0], features[:, 1:2]
        others = predictions(self.world_model.predict_by, before, actions.roll(1, 0), 1, codes)
        error = squared_error(predicted[:, :1], after, one).value
        variance = features[:, :2].flatten(0, 1).var(dim=0, correction=0).mean()
        metrics = {
            "relative_error": error / variance.clamp(min=1e-12),
            "action_sensitivity": squared_error(others, after, one).value / error.clamp(min=1e-12),
        }
        if codes is None:
            return metrics
        chosen = one_hot(codes, self.world_model.codes) * pairs[..., None]
        shares = chosen.sum(dim=(0, 1)) / pairs.sum().clamp(min=1)
        return metrics | {"codes_in_use": torch.special.entr(shares).sum().exp()}
