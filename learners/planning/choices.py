"""Plans of one of several actions a block: drawn from odds, or relaxed to mixtures and improved by descent.

Legend: E environments, N candidates, K elites, I iterations, R restarts, B blocks, n actions.
Sources: Rubinstein (1999), The Cross-Entropy Method for Combinatorial and Continuous Optimization; Jang, Gu, Poole
(2017), Categorical Reparameterization with Gumbel-Softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.planning.config import SearchConfig
from learners.planning.numbers import one_hot
from learners.planning.plan import Plan, Task, finite

FIRST_SHARPNESS, LAST_SHARPNESS = 1.0, 5.0
"""Of a relaxed choice: softmax(sharpness · logits)."""


def choose(task: Task, config: SearchConfig, noise: Tensor, warm: Plan | None) -> Plan:
    """The plan found with standard normal noise (I, E, N, B, n), from a plan that is going on."""
    if config.kind == "gradient":
        return _relax(task, config, noise[0], warm)
    with torch.no_grad():
        return _draw(task, config, noise, warm)


def _draw(task: Task, config: SearchConfig, noise: Tensor, warm: Plan | None) -> Plan:
    """Odds ← keep · odds + (1 − keep) · frequencies among the elites; shooting keeps them equal."""
    actions = noise.shape[-1]
    odds = torch.full_like(noise[0, :, 0], 1.0 / actions)  # (E, B, n)
    best, best_cost, dropped = odds, torch.full_like(odds[:, 0, 0], torch.inf), 0
    if warm is not None:
        odds = torch.where(warm.odds.sum(dim=-1, keepdim=True) > 0, warm.odds, odds)
        odds = odds.clamp(min=config.min_std / actions)
        odds = odds / odds.sum(dim=-1, keepdim=True)
    for draw in noise:  # (E, N, B, n)
        gumbel = -(-torch.special.log_ndtr(draw)).clamp(min=1e-30).log()
        candidates = one_hot((odds.log().unsqueeze(1) + gumbel).argmax(dim=-1), actions)
        candidates[:, 0] = one_hot(odds.argmax(dim=-1), actions)
        costs, missing = finite(task.of(candidates))
        dropped = dropped + missing
        elites = costs.topk(config.elites, dim=1, largest=False)
        chosen = candidates.gather(1, elites.indices[:, :, None, None].expand(-1, -1, *odds.shape[1:]))  # (E, K, B, n)
        better = elites.values[:, 0] < best_cost
        best = torch.where(better[:, None, None], chosen[:, 0], best)
        best_cost = torch.where(better, elites.values[:, 0], best_cost)
        if config.kind != "shooting":
            weights = elites.values.isfinite().to(odds.dtype)
            frequencies = torch.einsum("ek,ekbn->ebn", weights / weights.sum(dim=1, keepdim=True), chosen)
            odds = (config.keep * odds + (1.0 - config.keep) * frequencies).clamp(min=config.min_std / actions)
            odds = odds / odds.sum(dim=-1, keepdim=True)
    return Plan(best, best_cost, odds, dropped)


def _relax(task: Task, config: SearchConfig, noise: Tensor, warm: Plan | None) -> Plan:
    """Adam on logits (E, R, B, n) that become sharper; every step's likeliest actions are scored, the best count."""
    logits = noise.clone()
    logits[:, 0] = 0.0 if warm is None else warm.odds.clamp(min=1e-3).log()
    first, second = torch.zeros_like(logits), torch.zeros_like(logits)
    best, best_cost, dropped = logits, torch.full_like(logits[..., 0, 0], torch.inf), 0
    for step in range(config.gradient_steps + 1):
        hard = one_hot(logits.argmax(dim=-1), logits.shape[-1])
        with torch.no_grad():
            costs = task.of(hard)
        dropped = dropped + (~costs.isfinite()).sum()
        better = costs < best_cost  # nan is not
        best, best_cost = torch.where(better[:, :, None, None], hard, best), torch.where(better, costs, best_cost)
        share = step / max(1, config.gradient_steps)
        sharpness = FIRST_SHARPNESS * (LAST_SHARPNESS / FIRST_SHARPNESS) ** share
        logits = logits.detach().requires_grad_(True)
        with torch.enable_grad():
            soft = task.of((sharpness * logits).softmax(dim=-1))
            (gradient,) = torch.autograd.grad(soft.nan_to_num(0.0, 0.0, 0.0).sum(), logits)
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient.square()
        rate = config.learning_rate * (1.0 - 0.999 ** (step + 1)) ** 0.5 / (1.0 - 0.9 ** (step + 1))
        logits = logits.detach() - rate * first / (second.sqrt() + 1e-8)
    cost, index = finite(best_cost)[0].min(dim=1)
    rows = torch.arange(len(index), device=index.device)
    return Plan(best[rows, index], cost, logits[rows, index].softmax(dim=-1), dropped)
