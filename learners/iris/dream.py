"""Imagination with IRIS: the GPT writes the next frame's tokens one after another, the tokenizer draws them.

Legend: B batch, K tokens per frame, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.iris.gpt import Gpt
from learners.iris.tokenizer import Tokenizer
from learners.nn.sampling import sample_categorical


class IrisDream:
    """A rollout that starts from the tokens of one frame; its features are decoded frames in [0, 1].

    A step costs K calls of the transformer: the last token of a frame and the action that follows it go in together,
    and the action's hidden state yields reward, end and the next frame's first token at once.
    """

    def __init__(self, tokenizer: Tokenizer, gpt: Gpt, tokens: Tensor) -> None:
        """tokens (B, K) of the start frame."""
        self._tokenizer = tokenizer
        self._gpt = gpt
        self._cache = gpt.transformer.new_cache(len(tokens), gpt.max_positions)
        self.tokens = tokens
        """(B, K), of the newest frame."""
        self._pending = tokens  # (B, n): those of them the cache does not hold yet
        self.features = [tokenizer.decode(tokens)]

    @torch.no_grad()
    def step(self, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (B, K + 2) is for reward, end and the K tokens."""
        gpt = self._gpt
        if self._cache.length + self._pending.shape[1] + gpt.block_size > gpt.max_positions:
            self._restart()
        embedded = [gpt.token_embedding(self._pending), gpt.action_embedding(actions).unsqueeze(1)]
        hidden = gpt.advance(torch.cat(embedded, dim=1), self._cache)[:, -1]  # (B, E), at the action
        rewards = sample_categorical(gpt.reward_head(hidden), noise[:, 0]).float() - 1.0
        ends = sample_categorical(gpt.end_head(hidden), noise[:, 1]).bool()
        tokens = [sample_categorical(gpt.token_head(hidden), noise[:, 2])]
        for k in range(1, gpt.tokens_per_frame):
            hidden = gpt.advance(gpt.token_embedding(tokens[-1].unsqueeze(1)), self._cache)[:, -1]
            tokens.append(sample_categorical(gpt.token_head(hidden), noise[:, 2 + k]))
        self.tokens = torch.stack(tokens, dim=1)  # (B, K)
        self._pending = self.tokens[:, -1:]
        self.features.append(self._tokenizer.decode(self.tokens))
        return rewards, ends

    def _restart(self) -> None:
        """The context is full: goes on from the current frame alone."""
        self._cache.clear()
        self._pending = self.tokens
