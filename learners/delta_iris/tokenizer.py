"""The context-aware autoencoder of Δ-IRIS: tokens say what frames and actions before a frame do not tell of it.

Legend: N frames, B segments, L steps per segment, n frames of context, P = L − n frames that have such a context,
K tokens per frame (row order), D codeword size, s×s resolution of an encoded frame; frames float in [0, 1].
Context is given oldest first; before an episode's start its frames are black and its actions 0.
Source: Micheli, Alonso, Fleuret, "Efficient World Models with Context-Aware Tokenization", ICML 2024.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.config import FRAME_SIZE
from learners.delta_iris.config import TokenizerConfig
from learners.nn.codebook import MovingAverageCodebook
from learners.nn.convolution import FoldPatches, UnfoldPatches
from learners.nn.residual_encoder import ResidualDecoder, ResidualEncoder
from learners.nn.transformer import initialise
from learners.part import Mean, masked_mean


class Encoded(NamedTuple):
    tokens: Tensor  # (B, P, K) int64
    latents: Tensor  # (B, P, K, D) of length 1, before quantisation
    codewords: Tensor  # (B, P, K, D) without gradient


class Tokenizer(nn.Module):
    def __init__(self, config: TokenizerConfig, num_actions: int) -> None:
        super().__init__()
        self.config = config
        context, side = config.context_frames, config.encoder.side
        planes = context * (config.context_encoder.out_channels + config.action_channels)
        self.encoder = ResidualEncoder(config.encoder, 3 * (context + 1) + context)
        self.context_encoder = ResidualEncoder(config.context_encoder, 3)
        self.decoder = ResidualDecoder(config.encoder, planes + config.encoder.out_channels, 3)
        self.encoder_actions = nn.Embedding(num_actions, FRAME_SIZE**2)
        self.decoder_actions = nn.Embedding(num_actions, config.action_channels * side**2)
        self.pre_codebook = nn.Linear(config.features_per_token, config.codeword_size)
        self.codebook = MovingAverageCodebook(
            config.vocab_size,
            config.codeword_size,
            decay=config.codebook_decay,
            usage_decay=config.usage_decay,
            revive=config.revive,
            revive_updates=config.revive_updates,
        )
        self.post_codebook = nn.Linear(config.codeword_size, config.features_per_token)
        self._group = FoldPatches(side // config.grid_size)
        self._ungroup = UnfoldPatches(side // config.grid_size)
        self.apply(initialise)

    def forward(self, frames: Tensor, actions: Tensor) -> tuple[Encoded, Tensor]:
        """What the last P frames of segments (B, L, 3, 64, 64) with actions (B, L) become after what came before, and
        their reconstructions (B, P, 3, 64, 64), not clamped."""
        context = self.config.context_frames
        past, taken = frames[:, :-1], windows(actions[:, :-1], context)  # (B, L − 1, 3, 64, 64), (B, P, n)
        pairs, flat_taken = taken.shape[:2], taken.flatten(0, 1)
        latents = self._latents(windows(past, context).flatten(0, 1), flat_taken, frames[:, context:].flatten(0, 1))
        quantized = self.codebook(latents)
        # A frame is the context of up to n others; its features are computed once.
        features = self.context_encoder(past.flatten(0, 1)).unflatten(0, past.shape[:2])  # (B, L − 1, c, s, s)
        features = windows(features, context).flatten(0, 1)  # (B * P, n, c, s, s)
        reconstructions = self._decode(features, flat_taken, quantized.straight_through).float()
        encoded = (each.unflatten(0, pairs) for each in (quantized.tokens, latents, quantized.codewords))
        return Encoded(*encoded), reconstructions.unflatten(0, pairs)

    @torch.no_grad()
    def encode(self, previous: Tensor, actions: Tensor, frames: Tensor) -> Tensor:
        """Tokens (N, K) of frames (N, 3, 64, 64) that follow frames (N, n, 3, 64, 64) and actions (N, n) there."""
        return self.codebook.nearest(self._latents(previous, actions, frames))

    @torch.no_grad()
    def decode(self, previous: Tensor, actions: Tensor, tokens: Tensor) -> Tensor:
        """Frames (N, 3, 64, 64) in [0, 1], of the 256 levels of grey, from tokens (N, K); context as in `encode`."""
        features = self.context_encoder(previous.flatten(0, 1)).unflatten(0, previous.shape[:2])
        decoded = self._decode(features, actions, self.codebook.look_up(tokens))
        return decoded.float().clamp(0.0, 1.0).mul(255.0).round().div(255.0)

    def _latents(self, previous: Tensor, actions: Tensor, frames: Tensor) -> Tensor:
        """(N, K, D) of length 1; arguments as in `encode`."""
        planes = self.encoder_actions(actions).unflatten(2, (FRAME_SIZE, FRAME_SIZE))  # (N, n, 64, 64)
        grid = self.encoder(torch.cat([previous.flatten(1, 2), planes, frames], dim=1))  # (N, C, s, s)
        features = self._group(grid).flatten(2).transpose(1, 2)  # (N, K, features per token)
        return F.normalize(self.pre_codebook(features).float(), dim=-1)

    def _decode(self, features: Tensor, actions: Tensor, codewords: Tensor) -> Tensor:
        """(N, 3, 64, 64) of context features (N, n, c, s, s), actions (N, n) and codewords (N, K, D)."""
        side, grid = features.shape[-1], self.config.grid_size
        planes = self.decoder_actions(actions).unflatten(2, (-1, side, side))  # (N, n, action channels, s, s)
        tokens = self.post_codebook(codewords).transpose(1, 2).unflatten(2, (grid, grid))
        return self.decoder(torch.cat([features.flatten(1, 2), planes.flatten(1, 2), self._ungroup(tokens)], dim=1))


def windows(steps: Tensor, size: int) -> Tensor:
    """The `size` steps up to each step that has so many: (B, T, ...) -> (B, T − size + 1, size, ...)."""
    return steps.unfold(1, size, 1).movedim(-1, 2)


def real_pairs(mask: Tensor, context: int) -> Tensor:
    """Which of the last P steps of segments (B, P) are real and follow a real one; mask (B, L), True at real steps."""
    return mask[:, context - 1 : -1] & mask[:, context:]


def tokenizer_loss(
    frames: Tensor, encoded: Encoded, reconstructions: Tensor, mask: Tensor, config: TokenizerConfig
) -> dict[str, Mean]:
    """Loss terms of the autoencoder, to be added up, each with its weight of `config`; δ = x − x̂.

    commitment mean (z − sg(q))² over all pairs, padding included; absolute mean |δ|, squared mean δ² and worst_pixel
    mean max δ², its maximum over all values of a frame, these three over real pairs.

    Args:
        frames: (B, P, 3, 64, 64), those that were encoded.
        encoded, reconstructions: what the tokenizer made of them.
        mask: (B, P), their `real_pairs`.
    """
    distances = (encoded.latents - encoded.codewords.detach()).square()  # (B, P, K, D)
    errors = (frames - reconstructions).flatten(2)  # (B, P, values)
    squared = errors.square()
    return {
        "commitment": Mean(config.commitment_weight * distances.sum(), distances.new_full((), distances.numel())),
        "absolute": masked_mean(config.absolute_weight * errors.abs().mean(dim=2), mask),
        "squared": masked_mean(config.squared_weight * squared.mean(dim=2), mask),
        "worst_pixel": masked_mean(config.worst_pixel_weight * squared.amax(dim=2), mask),
    }


@torch.no_grad()
def pixel_errors(frames: Tensor, reconstructions: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Means over real pairs of |δ| of all pixels and of the worst pixel, x̂ clamped; arguments as above."""
    errors = (frames - reconstructions.clamp(0.0, 1.0)).abs().flatten(2)  # (B, P, values)
    return {
        "pixel_error": masked_mean(errors.mean(dim=2), mask).value,
        "worst_pixel_error": masked_mean(errors.amax(dim=2), mask).value,
    }
