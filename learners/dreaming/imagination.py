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

from learners.drawing import Drawing
from learners.dreaming.actor_critic import ActorCritic, State
from learners.dreaming.config import DreamerConfig
from learners.dreaming.cuda_graph import CudaGraph
from learners.dreaming.dream import Dreams
from learners.dreaming.returns import lambda_returns
from learners.dreaming.target import WithTarget
from learners.dreaming.value_head import ValueHead
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
    dream = world_model.dream(context)
    actions, rewards, ends = [], [], []
    for t in range(len(noise)):
        logits, _, state = actor_critic(dream.features[-1], state)
        actions.append(sample_categorical(logits, noise[t, :, 0]))
        reward, end = dream.step(actions[-1], noise[t, :, 1:])
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
    logits: Tensor, outputs: Tensor, values: Tensor, imagined: Imagined, head: ValueHead, config: DreamerConfig
) -> tuple[dict[str, Mean], dict[str, Tensor]]:
    """REINFORCE with the value as baseline, value regression and an entropy bonus; means over B and H, or, without
    `learn_after_end`, over the steps up to and including each trajectory's first end.

    policy −log π(a_t) · sg(G_t − V_t),  value head.loss(outputs_t, G_t),  entropy −η H(π).

    Args:
        logits: (B, H, A), with gradient.
        outputs: (B, H, ...) of the value head, with gradient.
        values: (B, H + 1), detached: V_t, of which the last one only bootstraps.
    """
    targets = lambda_returns(
        imagined.rewards, imagined.ends, values, discount=config.discount, lambda_=config.lambda_
    )  # (B, H)
    policy, values = Categorical(logits=logits, validate_args=False), values[:, :-1]
    advantages = targets - values
    ended_before = imagined.ends.cumsum(dim=1) - imagined.ends.long()  # (B, H)
    counted = torch.ones_like(imagined.ends) if config.learn_after_end else ended_before == 0  # (B, H)
    entropy = policy.entropy()  # (B, H)
    terms = {
        "policy": masked_mean(-policy.log_prob(imagined.actions) * advantages, counted),
        "value": masked_mean(head.loss(outputs, targets), counted),
        "entropy": masked_mean(-config.entropy_weight * entropy, counted),
    }
    metrics = {
        "policy_entropy": masked_mean(entropy.detach(), counted).value,
        "value_mean": values.mean(),
        "return_mean": targets.mean(),
        "return_std": targets.std(correction=0),
        "advantage_std": advantages.std(correction=0),
        "imagined_reward_mean": imagined.rewards.mean(),
        "imagined_end_rate": imagined.ends.float().mean(),
    }
    return terms, metrics


def actor_critic_part(
    networks: ActorCritic | WithTarget,
    world_model: Dreams,
    config: DreamerConfig,
    drawing: Drawing,
    *,
    record: bool = False,
    in_full_precision: bool = False,
) -> Part:
    """A policy that learns in dreams: its segments are burn-in frames and the frame a dream starts from.

    Returns and baseline are made of the values of its target, if it has one. `record` makes the rollout one CUDA graph.
    """
    target = networks.target if isinstance(networks, WithTarget) else None
    actor_critic = networks.online if isinstance(networks, WithTarget) else networks
    head = actor_critic.value
    if record:
        roll_out = recorded_imagination(world_model, actor_critic)
    else:
        roll_out = partial(imagine, world_model, actor_critic)

    def loss(context: Segments, noise: Tensor) -> Losses:
        imagined = roll_out(context, noise)
        if target is None:
            logits, outputs = actor_critic.unroll(imagined.features, imagined.state)
            logits, outputs, values = logits[:, :-1], outputs[:, :-1], head.mean(outputs).detach()
        else:
            logits, outputs = actor_critic.unroll(imagined.features[:, :-1], imagined.state)
            values = target_values(target, world_model.context_features(context), context.mask, imagined.features)
        return Losses(*actor_critic_loss(logits, outputs, values, imagined, head, config))

    return Part(
        name="actor_critic",
        module=networks,
        training=config.training,
        drawing=drawing,
        columns=world_model.dream_columns,
        loss=loss,
        noise=(config.transitions, 1 + world_model.noise_per_step),
        in_full_precision=in_full_precision,
        before_step=networks.follow if isinstance(networks, WithTarget) else None,
    )


@torch.no_grad()
def target_values(target: ActorCritic, context: Tensor, mask: Tensor, imagined: Tensor) -> Tensor:
    """Values (B, H + 1) of imagined features (B, H + 1, *F) that follow a context (B, T, *F) up to its last frame."""
    state = target.burn_in(context[:, :-1], mask[:, :-1])
    return target.value.mean(target.unroll(imagined, state)[1])
