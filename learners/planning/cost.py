"""What predicted steps cost: terms that nothing trains, guardrails that every step must keep to, and what is to come.

Legend: E environments, N candidates, H steps, D features, A numbers of an action.
Source: LeCun (2022), A Path Towards Autonomous Machine Intelligence, §3.2: the intrinsic cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from learners.planning.config import TERMS, CostConfig
from learners.planning.critic import Critic
from learners.planning.place import depth_in


class Term(Protocol):
    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        """Of each predicted step (E, N, H): features (E, N, H + 1, D), the first of them now, actions (E, N, H, A)."""
        ...


@dataclass(frozen=True)
class GoalDistance:
    """mean over D of (ẑ_t − goal)²."""

    goal: Tensor  # (E, D)

    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        return (features[:, :, 1:] - self.goal[:, None, None]).square().mean(dim=-1)


class ActionSize:
    """‖a_t‖²."""

    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        return actions.square().sum(dim=-1)


class ActionChange:
    """‖a_t − a_{t−1}‖², 0 at the first step."""

    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        return torch.cat([actions[:, :, :1], actions], dim=2).diff(dim=2).square().sum(dim=-1)


Heads = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Reward and the logit of the end (...), read off the features (..., D) after a step."""


@dataclass(frozen=True)
class PredictedReward:
    """−r_t · Π_{k<t} (1 − p_k): what comes after a predicted end, of probability p, does not count."""

    heads: Heads

    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        rewards, ends = self.heads(features[:, :, 1:])
        goes_on = (1.0 - ends.sigmoid()).cumprod(dim=2)
        return -rewards * torch.cat([torch.ones_like(goes_on[:, :, :1]), goes_on[:, :, :-1]], dim=2)


@dataclass(frozen=True)
class PredictedEnd:
    """p_t, the predicted probability that the episode is over after the step."""

    heads: Heads

    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        return self.heads(features[:, :, 1:])[1].sigmoid()


@dataclass(frozen=True)
class Guardrail:
    """weight · max(0, violation + margin) at every predicted step, whatever else counts."""

    violation: Callable[[Tensor], Tensor]
    """(..., D) -> (...): how far inside what is forbidden; not above 0 outside."""
    weight: float
    margin: float = 0.0
    """From which distance on it costs, in the unit of `violation`."""

    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        return self.weight * (self.violation(features[:, :, 1:]) + self.margin).clamp(min=0.0)

    def violations(self, features: Tensor) -> Tensor:
        """(E, N): predicted steps that are inside."""
        return (self.violation(features[:, :, 1:]) > 0).sum(dim=-1)


@dataclass(frozen=True)
class Outlook:
    """V(ẑ_H) Π_t (1 − p_t): after an end that is predicted with probability p nothing is to come."""

    value: Callable[[Tensor], Tensor]
    """(E, N) of features (E, N, D)."""
    heads: Heads | None = None
    """None where episodes are not expected to end."""

    def __call__(self, features: Tensor) -> Tensor:
        """(E, N) of predicted features (E, N, H + 1, D)."""
        value = self.value(features[:, :, -1])
        if self.heads is None:
            return value
        return value * (1.0 - self.heads(features[:, :, 1:])[1].sigmoid()).prod(dim=2)


@dataclass(frozen=True)
class Cost:
    """Σ weight · term, of all predicted steps or of the last one; guardrails of all of them; and once what is to come
    after them."""

    terms: Sequence[tuple[float, Term]]
    guardrails: Sequence[Guardrail] = ()
    outlooks: Sequence[tuple[float, Outlook]] = ()
    objective: Literal["sum", "last"] = "sum"

    def __call__(self, features: Tensor, actions: Tensor) -> Tensor:
        """(E, N) of candidates: features (E, N, H + 1, D), actions (E, N, H, A)."""
        steps = torch.zeros_like(actions[..., 0])  # (E, N, H)
        for weight, term in self.terms:
            steps = steps + weight * term(features, actions)
        total = steps.sum(dim=-1) if self.objective == "sum" else steps[..., -1]
        for guardrail in self.guardrails:
            total = total + guardrail(features, actions).sum(dim=-1)
        for weight, outlook in self.outlooks:
            total = total + weight * outlook(features)
        return total


@dataclass(frozen=True)
class Costs:
    """The cost of every goal, as it is configured."""

    weights: CostConfig
    heads: Heads
    critic: Critic | None = None
    """What its weight is of."""
    place: Callable[[Tensor], Tensor] | None = None
    """(x, y) in pixels (..., 2) that features (..., D) tell, for zones."""

    def __post_init__(self) -> None:
        assert self.place or not self.weights.zones
        assert self.critic or not self.weights.critic

    @property
    def aims(self) -> bool:
        """Whether there must be a goal."""
        return self.weights.goal > 0 or (self.critic is not None and self.critic.has_goals and self.weights.critic > 0)

    def coarse(self) -> Costs:
        """What strides can tell: of the steps between nothing is foreseen, and actions are codes."""
        nothing = {"action": 0.0, "smoothness": 0.0, "reward": 0.0, "end": 0.0}
        return replace(self, weights=self.weights.model_copy(update=nothing))

    def apart(self) -> dict[str, Costs]:
        """Each term that counts, and zones, alone: added up, they cost what all of them do together."""
        nothing = {"zones": (), **dict.fromkeys(TERMS, 0.0)}
        weights = self.weights
        alone: dict[str, dict[str, object]] = {
            name: {name: getattr(weights, name)} for name in TERMS if getattr(weights, name)
        }
        if weights.zones:
            alone["zones"] = {"zones": weights.zones}
        return {name: replace(self, weights=weights.model_copy(update=nothing | own)) for name, own in alone.items()}

    def to(self, goals: Tensor | None, objective: Literal["sum", "last"]) -> Cost:
        """For goals (E, D)."""
        weights = self.weights
        known: list[tuple[float, Term]] = [] if goals is None else [(weights.goal, GoalDistance(goals))]
        known += [
            (weights.action, ActionSize()),
            (weights.smoothness, ActionChange()),
            (weights.reward, PredictedReward(self.heads)),
            (weights.end, PredictedEnd(self.heads)),
        ]
        terms = [(weight, term) for weight, term in known if weight]
        return Cost(terms, self._guardrails(), self._outlooks(goals), objective)

    def _guardrails(self) -> list[Guardrail]:
        weights, place = self.weights, self.place
        if not weights.zones or place is None:
            return []
        violation: Callable[[Tensor], Tensor] = lambda features: depth_in(weights.zones, place(features))  # noqa: E731
        return [Guardrail(violation, weights.zone_weight, weights.zone_margin)]

    def _outlooks(self, goals: Tensor | None) -> list[tuple[float, Outlook]]:
        critic, weight = self.critic, self.weights.critic
        if critic is None or not weight:
            return []
        if goals is None:
            return [(weight, Outlook(critic, self.heads))]
        return [(weight, Outlook(lambda features: critic(features, goals.unsqueeze(1))))]
