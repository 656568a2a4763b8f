"""Does the value that was learnt in imagination foretell the return of real episodes?

Legend: M steps of all episodes, T of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from learners.dataset import Dataset
from learners.dreaming.actor_critic import ActorCritic
from learners.dreaming.dream import Dreams
from learners.dreaming.returns import lambda_returns
from learners.inspection import Panel

MAX_EPISODES = 16
MAX_STEPS = 200
"""Of an episode, its last ones; the LSTM knows nothing of those before."""


@dataclass(frozen=True)
class Calibration:
    """Steps of the newest episodes that ended: what the value network says there, and the discounted rewards that came.

    Older policies took some of these steps, so that a policy that gets better fast is underrated by its past.
    """

    values: NDArray[np.float64]  # (M,)
    returns: NDArray[np.float64]  # (M,)

    def metrics(self) -> dict[str, float]:
        """Means, and explained variance 1 − Var(G − V) / Var(G) if returns differ: 1 is perfect, 0 a constant."""
        metrics = {"value/predicted_mean": float(self.values.mean()), "value/realised_mean": float(self.returns.mean())}
        if variance := self.returns.var():
            metrics["value/explained_variance"] = float(1.0 - (self.returns - self.values).var() / variance)
        return metrics

    def panel(self) -> Panel:
        return Panel(
            "values of real episodes", "predicted value", "realised return", points=(self.values, self.returns)
        )


def calibrate(world_model: Dreams, actor_critic: ActorCritic, dataset: Dataset, discount: float) -> Calibration | None:
    """Values V(o_1 … o_t) along real episodes, and their G_t = r_t + γ G_{t+1}; None if no episode has ended."""
    values, returns = [], []
    for padded in dataset.finished_episodes(MAX_EPISODES, MAX_STEPS):
        segment = dataset.gather(padded[padded > 0][None], world_model.dream_columns)  # (1, T)
        features = world_model.context_features(segment)
        outputs = actor_critic.unroll(features, actor_critic.initial_state(1))[1]
        values.append(actor_critic.value.mean(outputs)[0])
        rewards = world_model.dreamt_rewards(segment.rewards)
        # λ = 1 and an end at the last step: no value enters the returns.
        bootstrap = rewards.new_zeros(1, rewards.shape[1] + 1)
        returns.append(lambda_returns(rewards, segment.ends, bootstrap, discount=discount, lambda_=1.0)[0])
    if not values:
        return None
    return Calibration(*(torch.cat(each).double().cpu().numpy() for each in (values, returns)))
