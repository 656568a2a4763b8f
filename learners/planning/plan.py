"""A plan, and what one is looked for to do.

Legend: E environments, N candidates, B blocks, r steps of each, S outcomes, A numbers of an action, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learners.planning.cost import Cost
from learners.planning.model import Predicts, imagine


class PlanError(ValueError):
    """No candidate has a finite cost."""


@dataclass(frozen=True)
class Plan:
    blocks: Tensor  # (E, B, A): the action of each block, in half ranges; or one of several, one-hot
    cost: Tensor  # (E,) of what it is predicted to lead to
    odds: Tensor  # (E, B, A) around which the next plan is looked for: the same in half ranges, or odds of each action
    dropped: Tensor | int = 0
    """Candidates without a finite cost."""
    doubt: Tensor | None = None
    """(E,), where several outcomes are drawn: the standard deviation of what they cost."""

    def check(self) -> Plan:
        """Itself; waits for the device. Raises PlanError if nothing with a finite cost was found somewhere."""
        if not self.cost.isfinite().all():
            raise PlanError(f"found {int(self.dropped)} candidates without a finite cost, expected at least one with")
        return self

    def shifted(self, blocks: int) -> Plan:
        """What is left once so many blocks are done; at the end stand zeros, which is in the middle, or nothing."""
        nothing = torch.zeros_like(self.blocks[:, :blocks])
        rest, odds = (torch.cat([each[:, blocks:], nothing], dim=1) for each in (self.blocks, self.odds))
        return Plan(rest, self.cost, odds)


@dataclass(frozen=True)
class Task:
    """Where a plan starts, and what it is to avoid."""

    model: Predicts
    start: Tensor  # (E, D)
    cost: Cost
    block_steps: int
    uniforms: Tensor | None = None  # (E, S, H): of S outcomes that are drawn for each plan, the same ones for all
    spread: float = 0.0
    """Weight of the standard deviation of their costs, beside the mean."""

    def of(self, blocks: Tensor) -> Tensor:
        """Cost (E, N) of candidates (E, N, B, A)."""
        if self.uniforms is None:
            actions = blocks.repeat_interleave(self.block_steps, dim=2)  # (E, N, H, A), H = B · r
            return self.cost(imagine(self.model, self.start, actions), actions)
        mean, doubt = self.outcomes_of(blocks, self.uniforms)
        return mean + self.spread * doubt

    def outcomes_of(self, blocks: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (E, N) of what the outcomes (E, S, H) of candidates (E, N, B, A) cost."""
        actions = blocks.repeat_interleave(self.block_steps, dim=2)
        candidates, outcomes = blocks.shape[1], uniforms.shape[1]
        actions = actions.repeat_interleave(outcomes, dim=1)  # (E, N · S, H, A)
        drawn = uniforms.repeat(1, candidates, 1)  # (E, N · S, H)
        costs = self.cost(imagine(self.model, self.start, actions, drawn), actions)
        costs = costs.unflatten(1, (candidates, outcomes))
        return costs.mean(dim=-1), costs.std(dim=-1, correction=0)


def finite(costs: Tensor) -> tuple[Tensor, Tensor]:
    """Costs (E, N) with infinity for those that are not finite, and how many those are."""
    is_finite = costs.isfinite()
    return costs.masked_fill(~is_finite, torch.inf), (~is_finite).sum()
