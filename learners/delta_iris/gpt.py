"""The GPT world model of Δ-IRIS: the tokens of what an action changes, its reward and whether the episode ends.

A block is a frame (one embedding, not tokens), the action taken there, and the K tokens of the transition to the next
frame: K + 2 positions. The hidden state at the action predicts the reward, the end and the first token; that at token k
predicts token k + 1. The next frame is not predicted: the tokenizer draws it.

Legend: B batch, T blocks, K tokens per transition, E embedding, V vocabulary, A actions, R classes of the reward.
Source: Micheli, Alonso, Fleuret, "Efficient World Models with Context-Aware Tokenization", ICML 2024.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from learners.classification import accuracy, classifier, cross_entropy
from learners.delta_iris.config import WorldModelConfig
from learners.nn.block_transformer import BlockTransformer
from learners.nn.residual_encoder import ResidualEncoder
from learners.nn.sampling import sample_categorical
from learners.nn.two_hot import two_hot_cross_entropy, two_hot_mean
from learners.part import Mean, masked_mean


class Predictions(NamedTuple):
    tokens: Tensor  # (B, T − 1, K, V) logits of the tokens of each transition
    rewards: Tensor  # (B, T, R) logits of sign(r_t) + 1, or of the buckets of r_t
    ends: Tensor  # (B, T, 2) logits


class Gpt(BlockTransformer):
    def __init__(self, config: WorldModelConfig, *, vocab_size: int, tokens_per_frame: int, num_actions: int) -> None:
        super().__init__(config, block_size=tokens_per_frame + 2)
        self.config = config
        self.tokens_per_frame = tokens_per_frame
        size = config.embedding_size
        self.frame_encoder = ResidualEncoder(config.frame_encoder, 3)
        self.frame_norm = nn.LayerNorm(size)
        self.action_embedding = nn.Embedding(num_actions, size)
        self.token_embedding = nn.Embedding(vocab_size, size)
        self.add_transformer()
        self.token_head = classifier(size, vocab_size)
        self.reward_head = classifier(size, config.reward_classes)
        self.end_head = classifier(size, 2)
        self.initialise()

    def forward(self, frames: Tensor, actions: Tensor, tokens: Tensor) -> Predictions:
        """frames (B, T, 3, 64, 64) in [0, 1], actions (B, T) and tokens (B, T − 1, K) of the transitions between."""
        frame_embeddings = self.embed_frames(frames.flatten(0, 1)).unflatten(0, actions.shape)  # (B, T, E)
        pairs = torch.stack([frame_embeddings, self.action_embedding(actions)], dim=2)  # (B, T, 2, E)
        blocks = torch.cat([pairs[:, :-1], self.token_embedding(tokens)], dim=2)  # (B, T − 1, K + 2, E)
        hidden = self.advance(torch.cat([blocks.flatten(1, 2), pairs[:, -1]], dim=1))  # (B, (T − 1)(K + 2) + 2, E)
        at_actions = hidden[:, 1 :: self.block_size]  # (B, T, E)
        whole = hidden[:, :-2].unflatten(1, blocks.shape[1:3])  # (B, T − 1, K + 2, E)
        logits = self.token_head(whole[:, :, 1:-1]), self.reward_head(at_actions), self.end_head(at_actions)
        return Predictions(*(each.float() for each in logits))

    def embed_frames(self, frames: Tensor) -> Tensor:
        """(N, E) of frames (N, 3, 64, 64) in [0, 1]."""
        return self.frame_norm(self.frame_encoder(frames).float().flatten(1))

    def draw_rewards(self, hidden: Tensor, uniforms: Tensor) -> Tensor:
        """Rewards (B,) of hidden states (B, E) at actions: signs drawn with uniforms (B,), or expected sizes."""
        logits = self.reward_head(hidden)
        if self.config.rewards == "two_hot":
            return two_hot_mean(logits)
        return sample_categorical(logits, uniforms).float() - 1.0


def gpt_loss(
    predictions: Predictions, tokens: Tensor, rewards: Tensor, ends: Tensor, mask: Tensor, config: WorldModelConfig
) -> tuple[dict[str, Mean], dict[str, Tensor]]:
    """Loss terms, to be added up, and accuracies.

    Three cross-entropies, each with its weight of `config` and averaged over its labels: tokens, reward (its sign, or
    two-hot), end. The tokens of a transition from a real frame are labels, of one to padding too unless
    `real_transitions_only`; the reward and the end of every real step are.

    Args:
        tokens: (B, T − 1, K).  rewards: (B, T).  ends: (B, T) bool.  mask: (B, T) bool, True at real steps.
    """
    per_frame = tokens.shape[2]
    transitions = mask[:, :-1] & mask[:, 1:] if config.real_transitions_only else mask[:, :-1]  # (B, T − 1)
    token_mask = transitions.repeat_interleave(per_frame, dim=1)  # (B, (T − 1)K)
    token_logits, token_labels = predictions.tokens.flatten(1, 2), tokens.flatten(1)  # (B, (T − 1)K, V), (B, (T − 1)K)
    end_labels = ends.long()  # (B, T)
    reward_loss, metrics = _rewards(predictions.rewards, rewards, mask, config)
    terms = {
        "tokens": _weighted(config.token_weight, cross_entropy(token_logits, token_labels, token_mask)),
        "rewards": _weighted(config.reward_weight, reward_loss),
        "ends": _weighted(config.end_weight, cross_entropy(predictions.ends, end_labels, mask)),
    }
    metrics["token_accuracy"] = accuracy(token_logits, token_labels, token_mask)
    metrics["end_accuracy"] = accuracy(predictions.ends, end_labels, mask)
    return terms, metrics


def _rewards(logits: Tensor, rewards: Tensor, mask: Tensor, config: WorldModelConfig) -> tuple[Mean, dict[str, Tensor]]:
    if config.rewards == "sign":
        labels = rewards.sign().long() + 1  # (B, T)
        return cross_entropy(logits, labels, mask), {"reward_accuracy": accuracy(logits, labels, mask)}
    errors = (two_hot_mean(logits.detach()) - rewards).abs()  # (B, T)
    loss = masked_mean(two_hot_cross_entropy(logits, rewards), mask)
    return loss, {"reward_error": masked_mean(errors, mask).value}


def _weighted(weight: float, term: Mean) -> Mean:
    return Mean(weight * term.total, term.count)
