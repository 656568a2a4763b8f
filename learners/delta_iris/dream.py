"""Imagination with Δ-IRIS: the GPT writes what an action changes, the tokenizer draws it onto the frames before.

Legend: B batch, T steps of context, n frames that a frame is drawn relative to, K tokens per frame, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.delta_iris.gpt import Gpt
from learners.delta_iris.tokenizer import Tokenizer
from learners.nn.sampling import sample_categorical


class DeltaIrisDream:
    """A rollout that starts at the last frame of a context; its features are frames in [0, 1], of the 256 levels of
    grey.

    A step costs K calls of the transformer: the last token of a frame's transition, the frame itself and the action
    that follows go in together, and the action's hidden state yields reward, end and the first token at once.
    """

    def __init__(self, tokenizer: Tokenizer, gpt: Gpt, frames: Tensor, actions: Tensor, tokens: Tensor) -> None:
        """
        Args:
            frames: (B, T, 3, 64, 64) in [0, 1].
            actions: (B, T), of which the last ones are not used: they are the dream's.
            tokens: (B, T, K) of the transitions to each frame, of which the first ones are not used.
        """
        self._tokenizer = tokenizer
        self._gpt = gpt
        context = tokenizer.config.context_frames
        missing = max(0, context - frames.shape[1])  # before the start of what is known, frames are black
        self._frames = list(torch.cat([torch.zeros_like(frames[:, :1])] * missing + [frames], dim=1).unbind(1))[
            -context:
        ]
        before = actions[:, :-1]
        self._actions = list(torch.cat([torch.zeros_like(actions[:, :1])] * missing + [before], dim=1).unbind(1))
        self._cache = gpt.transformer.new_cache(len(frames), gpt.max_positions)
        embedded = gpt.embed_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # (B, T, E)
        if frames.shape[1] > 1:
            blocks = [
                embedded[:, :-1].unsqueeze(2),
                gpt.action_embedding(before).unsqueeze(2),
                gpt.token_embedding(tokens[:, 1:]),
            ]
            gpt.advance(torch.cat(blocks, dim=2).flatten(1, 2), self._cache)  # (B, (T − 1)(K + 2), E)
        self._pending = embedded[
            :, -1:
        ]  # (B, m, E): what the cache does not hold yet, the current frame the last of it
        self.tokens = tokens[:, -1]
        """(B, K), of the transition to the newest frame."""
        self.features = [frames[:, -1]]

    @torch.no_grad()
    def step(self, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (B, K + 2) is for reward, end and the K tokens."""
        gpt = self._gpt
        if self._cache.length + self._pending.shape[1] - 1 + 2 * gpt.block_size > gpt.max_positions:
            self._cache.clear()  # at most one block is left: goes on from the current frame alone
            self._pending = self._pending[:, -1:]
        embedded = torch.cat([self._pending, gpt.action_embedding(actions).unsqueeze(1)], dim=1)
        hidden = gpt.advance(embedded, self._cache)[:, -1]  # (B, E), at the action
        rewards = gpt.draw_rewards(hidden, noise[:, 0])
        ends = sample_categorical(gpt.end_head(hidden), noise[:, 1]).bool()
        tokens = [sample_categorical(gpt.token_head(hidden), noise[:, 2])]
        for k in range(1, gpt.tokens_per_frame):
            hidden = gpt.advance(gpt.token_embedding(tokens[-1].unsqueeze(1)), self._cache)[:, -1]
            tokens.append(sample_categorical(gpt.token_head(hidden), noise[:, 2 + k]))
        self._draw(actions, torch.stack(tokens, dim=1))
        return rewards, ends

    def _draw(self, actions: Tensor, tokens: Tensor) -> None:
        """The next frame, after actions (B,), of tokens (B, K)."""
        context = self._tokenizer.config.context_frames
        self.tokens = tokens
        self._actions = [*self._actions, actions][-context:]
        frames = self._tokenizer.decode(torch.stack(self._frames, 1), torch.stack(self._actions, 1), tokens)
        self._frames = [*self._frames, frames][-context:]
        self.features.append(frames)
        frame = self._gpt.embed_frames(frames).unsqueeze(1)  # (B, 1, E)
        self._pending = torch.cat([self._gpt.token_embedding(tokens[:, -1:]), frame], dim=1)
