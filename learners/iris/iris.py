"""IRIS behind the seam of `learners/algorithm.py`: a tokenizer, a GPT over its tokens, a policy that learns in dreams.

Legend: N frames, B batch, T time, K tokens per frame.
Source: Micheli, Alonso, Fleuret, "Transformers are Sample-Efficient World Models", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from learners.config import FRAME_SIZE
from learners.dataset import Dataset
from learners.drawing import UniformDrawing
from learners.dreaming.actor_critic import pooling_actor_critic
from learners.dreaming.imagination import actor_critic_part
from learners.dreaming.inspection import inspect_dreams
from learners.dreaming.policy import PolicyActor
from learners.inspection import Inspection, held_out
from learners.iris.config import IrisConfig
from learners.iris.dream import IrisDream
from learners.iris.gpt import Gpt, gpt_loss
from learners.iris.perceptual import Perceptual
from learners.iris.tokenizer import Tokenizer, codebook_use, pixel_errors, tokenizer_loss
from learners.part import Derived, Losses, Part, Segments, mean, to_unit


class Iris:
    feature_shape: tuple[int, ...] = (3, FRAME_SIZE, FRAME_SIZE)
    """The policy reads reconstructed frames, float in [0, 1]."""
    dream_parts: tuple[str, ...] = ("tokenizer", "world_model")
    dream_columns: tuple[str, ...] = ("tokens", "reconstructions")

    def __init__(self, config: IrisConfig, num_actions: int, *, record: bool = False) -> None:
        """With `record`, imagination may become a CUDA graph."""
        self.config = config
        self._record = record
        self.tokenizer = Tokenizer(config.tokenizer)
        self.gpt = Gpt(
            config.world_model,
            vocab_size=config.tokenizer.vocab_size,
            tokens_per_frame=config.tokenizer.tokens_per_frame,
            num_actions=num_actions,
        )
        self.actor_critic = pooling_actor_critic(config.actor_critic, self.feature_shape, num_actions)
        self.noise_per_step = config.tokenizer.tokens_per_frame + 2
        self.perceptual: Perceptual | None = None
        """Network of the tokenizer's perceptual term; loaded when the first step asks for it."""

    @property
    def parts(self) -> tuple[Part, ...]:
        tokenizer, transformer = self.config.tokenizer, self.config.world_model
        return (
            Part(
                name="tokenizer",
                module=self.tokenizer,
                training=tokenizer.training,
                drawing=UniformDrawing(1, anchor="start"),
                columns=("frames",),
                loss=self._tokenizer_loss,
            ),
            Part(
                name="world_model",
                module=self.gpt,
                training=transformer.training,
                drawing=UniformDrawing(transformer.max_blocks, anchor="start"),
                columns=("tokens",),
                loss=self._gpt_loss,
            ),
            actor_critic_part(
                self.actor_critic,
                self,
                self.config.actor_critic,
                UniformDrawing(self.config.actor_critic.burn_in + 1, anchor="end"),
                record=self._record,
            ),
        )

    @property
    def derived(self) -> Mapping[str, Derived]:
        return {
            "tokens": Derived("tokenizer", self._tokens),
            "reconstructions": Derived("tokenizer", self._reconstructions, sources=("tokens",)),
        }

    def acting_modules(self) -> Mapping[str, nn.Module]:
        return {"tokenizer": self.tokenizer, "actor_critic": self.actor_critic}

    def actor(self) -> PolicyActor:
        return PolicyActor(self, self.actor_critic, self.config.actor_critic.burn_in)

    def inspect(self, dataset: Dataset, iteration: int, generator: torch.Generator) -> Inspection:
        is_new = dataset.newest_iteration == iteration
        metrics = held_out(self.parts[:-1], dataset, generator) if is_new else {}
        discount = self.config.actor_critic.discount
        dreams = inspect_dreams(self, self.actor_critic, dataset, discount, iteration, generator)
        return Inspection(metrics | dreams.metrics, dreams.pictures)

    def observe(self, frames: Tensor) -> Tensor:
        return self.tokenizer.decode(self.tokenizer.encode(to_unit(frames)))

    def context_features(self, context: Segments) -> Tensor:
        return context.columns["reconstructions"]  # (B, T, 3, 64, 64)

    def dream(self, context: Segments) -> IrisDream:
        return IrisDream(self.tokenizer, self.gpt, context.columns["tokens"][:, -1])

    def dreamt_rewards(self, rewards: Tensor) -> Tensor:
        return rewards.sign()

    def render(self, features: Tensor) -> Tensor:
        return features.float().mul(255.0).round().to(torch.uint8)

    def _tokens(self, steps: Segments) -> Tensor:
        return self.tokenizer.encode(to_unit(steps.columns["frames"].squeeze(1)))  # (N, K) of N segments of one step

    def _reconstructions(self, steps: Segments) -> Tensor:
        return self.tokenizer.decode(steps.columns["tokens"].squeeze(1))  # (N, 3, 64, 64)

    def _tokenizer_loss(self, segments: Segments, noise: Tensor) -> Losses:
        frames = to_unit(segments.columns["frames"].squeeze(1))  # (B, 3, 64, 64): segments of one step have no padding
        encoded, reconstructions = self.tokenizer(frames)
        terms = tokenizer_loss(frames, encoded, reconstructions, self.config.tokenizer)
        if self.config.tokenizer.perceptual == "vgg16" and torch.is_grad_enabled():  # not where it is only measured
            network, dropout = self._perceptual_network(frames.device), self.config.tokenizer.perceptual_dropout
            terms["perceptual"] = mean(network(frames * 2.0 - 1.0, reconstructions, dropout=dropout))
        metrics = codebook_use(encoded.tokens, self.config.tokenizer.vocab_size)
        return Losses(terms, {**metrics, **pixel_errors(frames, reconstructions)})

    def _gpt_loss(self, segments: Segments, noise: Tensor) -> Losses:
        tokens = segments.columns["tokens"]
        predictions = self.gpt(tokens, segments.actions)
        return Losses(*gpt_loss(predictions, tokens, segments.rewards, segments.ends, segments.mask))

    def _perceptual_network(self, device: torch.device) -> Perceptual:
        # Acting and looking at networks need no VGG weights.
        if self.perceptual is None:
            self.perceptual = Perceptual.load(self.config.tokenizer.perceptual_weights).to(device)
        return self.perceptual
