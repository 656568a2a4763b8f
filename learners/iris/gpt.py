"""The GPT world model of IRIS: what comes next, token by token, and the reward and end of every action.

A block is the K tokens of a frame and the action taken there, K + 1 positions. The hidden state at an action predicts
the reward, the end and the first token of the next frame; the hidden state at token k predicts token k + 1.

Legend: B batch, T blocks, K tokens per frame, E embedding, V vocabulary, A actions.
Source: Micheli, Alonso, Fleuret (2023), section 2.2 and appendix A.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from learners.classification import accuracy, classifier, cross_entropy
from learners.iris.config import TransformerConfig
from learners.nn.block_transformer import BlockTransformer
from learners.part import Mean

REWARD_CLASSES = 3
"""Sign of the reward, plus 1."""


class Predictions(NamedTuple):
    next_tokens: Tensor  # (B, T, K, V): [:, t, :K-1] tokens 1..K-1 of frame t, [:, t, K-1] token 0 of frame t + 1
    rewards: Tensor  # (B, T, 3) logits of sign(r_t) + 1
    ends: Tensor  # (B, T, 2) logits


class Gpt(BlockTransformer):
    def __init__(self, config: TransformerConfig, *, vocab_size: int, tokens_per_frame: int, num_actions: int) -> None:
        super().__init__(config, block_size=tokens_per_frame + 1)
        self.config = config
        self.tokens_per_frame = tokens_per_frame
        size = config.embedding_size
        self.token_embedding = nn.Embedding(vocab_size, size)
        self.action_embedding = nn.Embedding(num_actions, size)
        self.add_transformer()
        self.token_head = classifier(size, vocab_size)
        self.reward_head = classifier(size, REWARD_CLASSES)
        self.end_head = classifier(size, 2)
        self.initialise()

    def forward(self, tokens: Tensor, actions: Tensor) -> Predictions:
        """tokens (B, T, K), actions (B, T), T ≤ max_blocks."""
        blocks = torch.cat([self.token_embedding(tokens), self.action_embedding(actions).unsqueeze(2)], dim=2)
        hidden = self.advance(blocks.flatten(1, 2))  # (B, T*(K+1), E)
        hidden = hidden.unflatten(1, (-1, self.block_size))  # (B, T, K+1, E)
        at_action = hidden[:, :, -1]  # (B, T, E)
        # The last token of a frame is followed by an action, which is not predicted.
        predicting = torch.cat([hidden[:, :, :-2], hidden[:, :, -1:]], dim=2)  # (B, T, K, E)
        logits = self.token_head(predicting), self.reward_head(at_action), self.end_head(at_action)
        return Predictions(*(each.float() for each in logits))


def gpt_loss(
    predictions: Predictions, tokens: Tensor, rewards: Tensor, ends: Tensor, mask: Tensor
) -> tuple[dict[str, Mean], dict[str, Tensor]]:
    """Loss terms, to be added up, and accuracies.

    Three cross-entropies, each averaged over its real positions: next tokens, sign of the reward, end. The first token
    of a segment's first frame and the successor of its last action have no label; a padded frame's token is no label.

    Args:
        tokens: (B, T, K).  rewards: (B, T).  ends: (B, T) bool.  mask: (B, T) bool, True at real steps.
    """
    per_frame = tokens.shape[2]
    token_logits = predictions.next_tokens.flatten(1, 2)[:, :-1]  # (B, T*K - 1, V)
    token_labels = tokens.flatten(1, 2)[:, 1:]  # (B, T*K - 1)
    token_mask = mask.repeat_interleave(per_frame, dim=1)[:, 1:]  # (B, T*K - 1)
    reward_labels = rewards.sign().long() + 1  # (B, T)
    end_labels = ends.long()  # (B, T)
    terms = {
        "tokens": cross_entropy(token_logits, token_labels, token_mask),
        "rewards": cross_entropy(predictions.rewards, reward_labels, mask),
        "ends": cross_entropy(predictions.ends, end_labels, mask),
    }
    with torch.no_grad():
        metrics = {
            "token_accuracy": accuracy(token_logits, token_labels, token_mask),
            "reward_accuracy": accuracy(predictions.rewards, reward_labels, mask),
            "end_accuracy": accuracy(predictions.ends, end_labels, mask),
        }
    return terms, metrics
