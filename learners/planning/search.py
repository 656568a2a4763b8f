"""Looking for the plan that costs least: by drawing candidates, or by descending through the model.

Numbers of an action are in half ranges of their bounds, −1 to 1; a plan is one such action a block.

Legend: E environments, N candidates, K elites, I iterations, R restarts, B blocks, r steps of each, A numbers of an
action.
Sources: de Boer et al. (2005), A Tutorial on the Cross-Entropy Method; Williams et al. (2017), Model Predictive Path
Integral Control.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.planning.choices import choose
from learners.planning.config import SearchConfig
from learners.planning.plan import Plan, Task, finite


def noise_shape(config: SearchConfig, environments: int, numbers: int) -> tuple[int, ...]:
    """Of the standard normal noise that a plan takes."""
    if config.kind == "reflex":
        return (0,)
    if config.kind == "gradient":
        return (1, environments, config.restarts, config.blocks, numbers)
    return (config.iterations, environments, config.samples, config.blocks, numbers)


def search(task: Task, config: SearchConfig, noise: Tensor, warm: Plan | None = None, *, choices: bool = False) -> Plan:
    """The plan that a planner of `config` finds with noise (I, E, N, B, A), from a plan that is going on.

    With `choices`, A is how many actions there are to choose from.

    Where every candidate of an environment has a cost that is not finite, neither has the plan (`Plan.check`).
    """
    if choices:
        return choose(task, config, noise, warm)
    mean = torch.zeros_like(noise[0, :, 0]) if warm is None else warm.odds  # (E, B, A)
    if config.kind == "gradient":
        return _descend(task, config, noise[0], mean)
    with torch.no_grad():
        if config.kind == "shooting":
            return _shoot(task, noise, mean)
        return _refine(task, config, noise, mean)


def _refine(task: Task, config: SearchConfig, noise: Tensor, mean: Tensor) -> Plan:
    """Candidates N(mean, std²), the mean among them, cut to the bounds before anything else."""
    std, dropped = torch.ones_like(mean), 0
    for draw in noise:  # (E, N, B, A)
        candidates = (mean.unsqueeze(1) + std.unsqueeze(1) * draw).clamp(-1.0, 1.0)
        candidates[:, 0] = mean
        costs, missing = finite(task.of(candidates))
        dropped = dropped + missing
        best = costs.topk(config.elites, dim=1, largest=False)
        elites = candidates.gather(1, best.indices[:, :, None, None].expand(-1, -1, *mean.shape[1:]))  # (E, K, B, A)
        weights = _weights(best.values, config)[:, :, None, None]
        mean = (weights * elites).sum(dim=1).clamp(-1.0, 1.0)  # which rounding may leave
        std = (weights * (elites - mean.unsqueeze(1)).square()).sum(dim=1).sqrt().clamp(min=config.min_std)
    return Plan(mean, finite(task.of(mean.unsqueeze(1)))[0][:, 0], mean, dropped)


def _weights(costs: Tensor, config: SearchConfig) -> Tensor:
    """(E, K) of elites, from the best on; those without a finite cost have none."""
    finite = costs.isfinite()
    if config.kind == "cem":
        return finite / finite.sum(dim=1, keepdim=True)
    known = torch.where(finite, costs, costs[:, :1])
    scale = (config.temperature * known.std(dim=1, keepdim=True, correction=0)).clamp(min=1e-12)
    return (-(costs - costs[:, :1]) / scale).softmax(dim=1)


def _shoot(task: Task, noise: Tensor, mean: Tensor) -> Plan:
    """As many candidates as the others draw in all, uniform within the bounds; the best of them, or what goes on."""
    uniform = torch.special.ndtr(noise.transpose(0, 1).flatten(1, 2)) * 2.0 - 1.0  # (E, I · N, B, A)
    candidates = torch.cat([mean.unsqueeze(1), uniform], dim=1)
    costs, dropped = finite(task.of(candidates))
    cost, index = costs.min(dim=1)
    best = candidates[torch.arange(len(index), device=index.device), index]
    return Plan(best, cost, best, dropped)


def _descend(task: Task, config: SearchConfig, noise: Tensor, mean: Tensor) -> Plan:
    """Adam on R candidates (E, R, B, A) at once, cut to the bounds after every step; the best that was met."""
    candidates = torch.cat([mean.unsqueeze(1), noise[:, 1:].clamp(-1.0, 1.0)], dim=1).detach()
    first, second = torch.zeros_like(candidates), torch.zeros_like(candidates)
    best, best_cost, dropped = candidates, torch.full_like(candidates[..., 0, 0], torch.inf), 0
    for step in range(config.gradient_steps + 1):
        candidates = candidates.detach().requires_grad_(True)
        with torch.enable_grad():
            costs = task.of(candidates)
            (gradient,) = torch.autograd.grad(costs.nan_to_num(0.0, 0.0, 0.0).sum(), candidates)
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        dropped = dropped + (~costs.isfinite()).sum()
        better = costs.detach() < best_cost  # nan is not
        best = torch.where(better[:, :, None, None], candidates.detach(), best)
        best_cost = torch.where(better, costs.detach(), best_cost)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient.square()
        rate = config.learning_rate * (1.0 - 0.999 ** (step + 1)) ** 0.5 / (1.0 - 0.9 ** (step + 1))
        candidates = (candidates.detach() - rate * first / (second.sqrt() + 1e-8)).clamp(-1.0, 1.0)
    cost, index = finite(best_cost)[0].min(dim=1)
    found = best[torch.arange(len(index), device=index.device), index]
    return Plan(found, cost, found, dropped)
