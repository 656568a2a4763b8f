"""Returns of imagined trajectories."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def lambda_returns(rewards: Tensor, ends: Tensor, values: Tensor, *, discount: float, lambda_: float) -> Tensor:
    """Bootstrapped λ-returns.

    G_t = r_t + γ (1 − d_t) [(1 − λ) V_{t+1} + λ G_{t+1}],  G_H = V_H.

    Args:
        rewards: (B, H), in the game's own units.
        ends: (B, H) bool, whether the episode ended with that reward.
        values: (B, H + 1); the last column is the bootstrap.
        discount: per agent step, in (0, 1].
        lambda_: 0 is one-step TD, 1 the discounted sum bootstrapped at H.

    Returns: (B, H) targets, detached.
    Raises: ValueError if the time axes disagree.
    Source: Micheli et al. (2023), appendix B; Sutton & Barto (2018), chapter 12.
    """
    if rewards.shape != ends.shape or values.shape != (rewards.shape[0], rewards.shape[1] + 1):
        found = f"rewards {tuple(rewards.shape)}, ends {tuple(ends.shape)}, values {tuple(values.shape)}"
        raise ValueError(f"expected (B, H), (B, H), (B, H + 1); found {found}")
    continues = discount * (~ends).to(values.dtype)  # (B, H)
    returns = torch.empty_like(rewards)
    following = values[:, -1]  # G_{t+1}
    for t in reversed(range(rewards.shape[1])):
        following = rewards[:, t] + continues[:, t] * ((1.0 - lambda_) * values[:, t + 1] + lambda_ * following)
        returns[:, t] = following
    return returns
