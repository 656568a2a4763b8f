"""Learning in imagination: rollouts of the policy in the world model, and the loss on them.

Legend: B batch, H imagined transitions, F feature shape (3, 64, 64), A actions.
Source: Micheli, Alonso, Fleuret (2023), section 2.3 and appendix A.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical

from learners.drawing import UniformDrawing
from learners.dreaming.actor_critic import ActorCritic, State
from learners.dreaming.config import ActorCriticConfig
from learners.dreaming.cuda_graph import CudaGraph
from learners.dreaming.dream import Dreams
from learners.dreaming.returns import lambda_returns
from learners.nn.sampling import sample_categorical
from learners.part import Losses, Mean, Part, Segments, masked_mean


class Imagined(NamedTuple):
    """H imagined transitions; the policy saw one frame more than it made transitions."""

    features: Tensor  # (B, H + 1, *F)
    actions: Tensor  # (B, H)
    rewards: Tensor  # (B, H)
    ends: Tensor  # (B, H) bool
    state: State  # of the LSTM before the first imagined frame


Imagine = Callable[[Segments, Tensor], Imagined]
"""Context and noise -> rollout."""


@torch.no_grad()
def imagine(world_model: Dreams, actor_critic: ActorCritic, context: Segments, noise: Tensor) -> Imagined:
    """Rolls the policy out in the world model for H transitions, from the last frame of each context.

    The LSTM is burned in on the frames before; actions are sampled at temperature 1. Imagination goes on after an end.
    Nothing here waits for the device or copies to or from it, so that a CUDA graph can hold the whole rollout.

    Args:
        noise: (H, B, 1 + noise_per_step) in [0, 1): for the action, then for the world model.
    """
    before = context.mask[:, :-1]
    state = burned_in = actor_critic.burn_in(world_model.context_features(context)[:, :-1], before)
    dream = world_model.dream(context, noise[:, :, 1:])
    actions, rewards, ends = [], [], []
    for t in range(len(noise)):
        logits, _, state = actor_critic(dream.features[-1], state)
        actions.append(sample_categorical(logits, noise[t, :, 0]))
        reward, end = dream.step(actions[-1])
        rewards.append(reward)
        ends.append(end)
    features = torch.stack(dream.features, dim=1)
    return Imagined(features, torch.stack(actions, 1), torch.stack(rewards, 1), torch.stack(ends, 1), burned_in)


def recorded_imagination(world_model: Dreams, actor_critic: ActorCritic) -> Imagine:
    """`imagine` as one CUDA graph; its results live until the next call."""
    names = world_model.dream_columns

    def on_tensors(noise: Tensor, actions: Tensor, rewards: Tensor, ends: Tensor, mask: Tensor, *columns: Tensor):
        context = Segments(actions, rewards, ends, mask, dict(zip(names, columns, strict=True)))
        return imagine(world_model, actor_critic, context, noise)

    graph = CudaGraph(on_tensors)

    def replay(context: Segments, noise: Tensor) -> Imagined:
        columns = [context.columns[name] for name in names]
        return graph(noise, context.actions, context.rewards, context.ends, context.mask, *columns)

    return replay


def actor_critic_loss(
    logits: Tensor, values: Tensor, imagined: Imagined, config: ActorCriticConfig
) -> tuple[dict[str, Mean], dict[str, Tensor]]:
    """REINFORCE with the value as baseline, value regression and an entropy bonus; means over B and H, or, without
    `learn_after_end`, over the steps up to and including each trajectory's first end.

    policy −log π(a_t) · sg(G_t − V_t),  value (V_t − G_t)²,  entropy −η H(π).

    Args:
        logits: (B, H + 1, A), with gradient.  values: (B, H + 1), with gradient; the last one only bootstraps.
    """
    targets = lambda_returns(
        imagined.rewards, imagined.ends, values.detach(), discount=config.discount, lambda_=config.lambda_
    )  # (B, H)
    policy, values = Categorical(logits=logits[:, :-1], validate_args=False), values[:, :-1]
    advantages = targets - values.detach()
    ended_before = imagined.ends.cumsum(dim=1) - imagined.ends.long()  # (B, H)
    counted = torch.ones_like(imagined.ends) if config.learn_after_end else ended_before == 0  # (B, H)
    entropy = policy.entropy()  # (B, H)
    terms = {
        "policy": masked_mean(-policy.log_prob(imagined.actions) * advantages, counted),
        "value": masked_mean((values - targets).square(), counted),
        "entropy": masked_mean(-config.entropy_weight * entropy, counted),
    }
    metrics = {
        "policy_entropy": masked_mean(entropy.detach(), counted).value,
        "value_mean": values.detach().mean(),
        "return_mean": targets.mean(),
        "return_std": targets.std(correction=0),
        "advantage_std": advantages.std(correction=0),
        "imagined_reward_mean": imagined.rewards.mean(),
        "imagined_end_rate": imagined.ends.float().mean(),
    }
    return terms, metrics


def actor_critic_part(
    actor_critic: ActorCritic, world_model: Dreams, config: ActorCriticConfig, *, record: bool = False
) -> Part:
    """A policy that learns in dreams: its segments are burn-in frames and the frame a dream starts from.

    `record` makes the rollout one CUDA graph.
    """
    if record:
        roll_out = recorded_imagination(world_model, actor_critic)
    else:
        roll_out = partial(imagine, world_model, actor_critic)

    def loss(context: Segments, noise: Tensor) -> Losses:
        imagined = roll_out(context, noise)
        logits, values = actor_critic.unroll(imagined.features, imagined.state)
        return Losses(*actor_critic_loss(logits, values, imagined, config))

    return Part(
        name="actor_critic",
        module=actor_critic,
        training=config.training,
        drawing=UniformDrawing(config.burn_in + 1, anchor="end"),
        columns=world_model.dream_columns,
        loss=loss,
        noise=(config.horizon - 1, 1 + world_model.noise_per_step),
    )
