"""Δ-IRIS behind the seam of `learners/algorithm.py`: tokens of what changes, a GPT over them, a policy in its dreams.

Legend: N steps, B segments, T steps per segment, n frames of context, P pairs of a frame and its context, K tokens per
frame, V vocabulary.
Source: Micheli, Alonso, Fleuret, "Efficient World Models with Context-Aware Tokenization", ICML 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from learners.config import FRAME_SIZE
from learners.dataset import Dataset
from learners.delta_iris.actor_critic import residual_actor_critic
from learners.delta_iris.config import DeltaIrisConfig
from learners.delta_iris.dream import DeltaIrisDream
from learners.delta_iris.gpt import Gpt, gpt_loss
from learners.delta_iris.inspection import token_pictures
from learners.delta_iris.tokenizer import Tokenizer, pixel_errors, real_pairs, tokenizer_loss
from learners.drawing import CountedDrawing
from learners.dreaming.imagination import actor_critic_part
from learners.dreaming.inspection import inspect_dreams, longest_recent
from learners.dreaming.policy import PolicyActor
from learners.dreaming.target import WithTarget
from learners.inspection import Inspection, held_out
from learners.nn.codebook import Assignments, Candidates
from learners.part import Derived, Losses, Part, Segments, to_unit


class DeltaIris:
    feature_shape: tuple[int, ...] = (3, FRAME_SIZE, FRAME_SIZE)
    """The policy reads frames, float in [0, 1]: true ones in the environment, imagined ones in dreams."""
    dream_parts: tuple[str, ...] = ("tokenizer", "world_model")
    dream_columns: tuple[str, ...] = ("frames", "tokens")

    def __init__(self, config: DeltaIrisConfig, num_actions: int, *, record: bool = False) -> None:
        """With `record`, imagination may become a CUDA graph."""
        self.config = config
        self._record = record
        self.tokenizer = Tokenizer(config.tokenizer, num_actions)
        self.gpt = Gpt(
            config.world_model,
            vocab_size=config.tokenizer.vocab_size,
            tokens_per_frame=config.tokenizer.tokens_per_frame,
            num_actions=num_actions,
        )
        actor_critic = residual_actor_critic(config.actor_critic, num_actions)
        self.actor_critic = WithTarget(actor_critic, config.actor_critic.target_rate)
        self.noise_per_step = config.tokenizer.tokens_per_frame + 2

    @property
    def parts(self) -> tuple[Part, ...]:
        tokenizer, transformer, actor_critic = self.config.tokenizer, self.config.world_model, self.config.actor_critic
        encodings = tokenizer.segment_transitions * tokenizer.tokens_per_frame  # of a segment
        return (
            Part(
                name="tokenizer",
                module=self.tokenizer,
                training=tokenizer.training,
                drawing=self._drawing(tokenizer.segment_length, "both"),
                columns=("frames",),
                loss=self._tokenizer_loss,
                noise=(1, encodings + tokenizer.vocab_size) if tokenizer.revive else (0, 0),
                after_step=self._move_codebook,
            ),
            Part(
                name="world_model",
                module=self.gpt,
                training=transformer.training,
                drawing=self._drawing(transformer.max_blocks, "both"),
                columns=("frames", "tokens"),
                loss=self._gpt_loss,
            ),
            actor_critic_part(
                self.actor_critic,
                self,
                actor_critic,
                self._drawing(actor_critic.burn_in + 1, "left"),
                record=self._record,
                in_full_precision=True,
            ),
        )

    @property
    def derived(self) -> Mapping[str, Derived]:
        """`tokens` (K,) of the transition to a frame; those to black frames, before and after an episode, too."""
        window = self.config.tokenizer.context_frames + 1
        return {"tokens": Derived("tokenizer", self._tokens, window=window, at_padding=True)}

    def acting_modules(self) -> Mapping[str, nn.Module]:
        return {"actor_critic": self.actor_critic.online}

    def actor(self) -> PolicyActor:
        return PolicyActor(self, self.actor_critic.online, self.config.actor_critic.burn_in)

    def inspect(self, dataset: Dataset, iteration: int, generator: torch.Generator) -> Inspection:
        is_new = dataset.newest_iteration == iteration
        metrics = held_out(self.parts[:-1], dataset, generator) if is_new else {}
        discount = self.config.actor_critic.discount
        dreams = inspect_dreams(self, self.actor_critic.online, dataset, discount, iteration, generator)
        segment = longest_recent(dataset, self.dream_columns)
        pictures = token_pictures(self.tokenizer, self.gpt, segment, generator)
        return Inspection(metrics | dreams.metrics, {**dreams.pictures, **pictures})

    def observe(self, frames: Tensor) -> Tensor:
        return to_unit(frames)

    def context_features(self, context: Segments) -> Tensor:
        return to_unit(context.columns["frames"])  # (B, T, 3, 64, 64)

    def dream(self, context: Segments) -> DeltaIrisDream:
        frames, tokens = to_unit(context.columns["frames"]), context.columns["tokens"]
        return DeltaIrisDream(self.tokenizer, self.gpt, frames, context.actions, tokens)

    def dreamt_rewards(self, rewards: Tensor) -> Tensor:
        return rewards.sign() if self.config.world_model.rewards == "sign" else rewards

    def render(self, features: Tensor) -> Tensor:
        return features.float().mul(255.0).round().to(torch.uint8)

    def _drawing(self, length: int, padding: Literal["both", "left"]) -> CountedDrawing:
        return CountedDrawing(length, alpha=self.config.priority_exponent, padding=padding)

    def _tokens(self, steps: Segments) -> Tensor:
        frames = to_unit(steps.columns["frames"])  # (N, n + 1, 3, 64, 64)
        return self.tokenizer.encode(frames[:, :-1], steps.actions[:, :-1], frames[:, -1])  # (N, K)

    def _tokenizer_loss(self, segments: Segments, noise: Tensor) -> Losses:
        context = self.config.tokenizer.context_frames
        frames, pairs = to_unit(segments.columns["frames"]), real_pairs(segments.mask, context)  # (B, L, ...), (B, P)
        encoded, reconstructions = self.tokenizer(frames, segments.actions)
        later = frames[:, context:]
        terms = tokenizer_loss(later, encoded, reconstructions, pairs, self.config.tokenizer)
        metrics = {**pixel_errors(later, reconstructions, pairs), "codebook_entropy": self.tokenizer.codebook.entropy()}
        assignments = self.tokenizer.codebook.assignments(encoded.latents, encoded.tokens, noise.flatten())
        sums = {"counts": assignments.counts, "sums": assignments.sums}
        if revival := assignments.candidates:
            sums |= {"encodings": revival.encodings, "keys": revival.keys}
        return Losses(terms, metrics, sums)

    def _move_codebook(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        candidates = Candidates(sums["encodings"], sums["keys"]) if "keys" in sums else None
        self.tokenizer.codebook.update(Assignments(sums["counts"], sums["sums"], candidates), is_taken)

    def _gpt_loss(self, segments: Segments, noise: Tensor) -> Losses:
        frames, tokens = to_unit(segments.columns["frames"]), segments.columns["tokens"][:, 1:]
        predictions = self.gpt(frames, segments.actions, tokens)
        arguments = segments.rewards, segments.ends, segments.mask, self.config.world_model
        return Losses(*gpt_loss(predictions, tokens, *arguments))
