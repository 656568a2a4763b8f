"""The discrete autoencoder of IRIS: a 64×64 frame as `tokens_per_frame` codebook indices.

Legend: N frames, K tokens per frame (row order), D codeword size, V vocabulary; frames float (N, 3, 64, 64) in [0, 1].
Source: Micheli, Alonso, Fleuret (2023), section 2.1 and appendix A.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.config import FRAME_SIZE
from learners.iris.config import TokenizerConfig
from learners.nn.codebook import entropy_in_bits
from learners.nn.convolution import (
    Downsample,
    FoldPatches,
    ResidualBlock,
    SpatialAttention,
    UnfoldPatches,
    Upsample,
    group_norm,
)
from learners.nn.quantizer import Quantizer
from learners.part import Mean

_DISTANCES = {"l1": F.l1_loss, "l2": F.mse_loss}


class Encoded(NamedTuple):
    tokens: Tensor  # (N, K) int64
    latents: Tensor  # (N, K, D) before quantisation
    codewords: Tensor  # (N, K, D) gradient to the codebook
    straight_through: Tensor  # (N, K, D) gradient to the latents


class Tokenizer(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        size = config.codeword_size
        self.encoder = nn.Sequential(*_encoder(config))
        self.pre_quantizer = nn.Conv2d(size, size, 1)
        self.quantizer = Quantizer(config.vocab_size, size, revive_after=config.revive_after)
        self.post_quantizer = nn.Conv2d(size, size, 1)
        self.decoder = nn.Sequential(*_decoder(config))

    def forward(self, frames: Tensor) -> tuple[Encoded, Tensor]:
        """What a frame becomes, and its reconstruction (N, 3, 64, 64) on [-1, 1], not clamped."""
        latents = self._latents(frames)
        quantized = self.quantizer(latents)
        encoded = Encoded(quantized.tokens, latents, quantized.codewords, quantized.straight_through)
        return encoded, self._decode(quantized.straight_through).float()

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Tokens (N, K)."""
        return self.quantizer.nearest(self._latents(frames))

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Frames (N, 3, 64, 64) in [0, 1] of tokens (N, K)."""
        return self._decode(self.quantizer.codebook(tokens)).add(1.0).mul(0.5).clamp(0.0, 1.0)

    def _latents(self, frames: Tensor) -> Tensor:
        hidden = self.pre_quantizer(self.encoder(frames * 2.0 - 1.0))  # (N, D, g, g)
        return hidden.float().flatten(2).transpose(1, 2)  # (N, K, D)

    def _decode(self, codewords: Tensor) -> Tensor:
        side = self.config.grid_size
        grid = codewords.transpose(1, 2).unflatten(2, (side, side))  # (N, K, D) -> (N, D, g, g)
        if grid.device.type == "cpu":
            grid = grid.contiguous()  # as the networks are there (learners/learner.py)
        return self.decoder(self.post_quantizer(grid))


def tokenizer_loss(
    frames: Tensor, encoded: Encoded, reconstructions: Tensor, config: TokenizerConfig
) -> dict[str, Mean]:
    """Loss terms of the autoencoder, to be added up; the perceptual term is apart (`perceptual.py`).

    codebook w ‖sg(z) − q‖² + commitment w ‖z − sg(q)‖² + reconstruction |x − x̂| or (x − x̂)², each a mean, x on [−1, 1]
    and w the `quantization_weight`.

    Args:
        frames: (N, 3, 64, 64) in [0, 1].
        encoded: of `frames`.
        reconstructions: (N, 3, 64, 64) on [-1, 1].
    """
    weight, pixels = config.quantization_weight, _DISTANCES[config.reconstruction]
    return {
        "codebook": _mean_distance(F.mse_loss, encoded.codewords, encoded.latents.detach(), weight),
        "commitment": _mean_distance(F.mse_loss, encoded.latents, encoded.codewords.detach(), weight),
        "reconstruction": _mean_distance(pixels, reconstructions, frames * 2.0 - 1.0),
    }


def _mean_distance(distance: Callable[..., Tensor], x: Tensor, y: Tensor, weight: float = 1.0) -> Mean:
    return Mean(weight * distance(x, y, reduction="sum"), x.new_full((), x.numel()))


@torch.no_grad()
def codebook_use(tokens: Tensor, vocab_size: int) -> dict[str, Tensor]:
    """How a batch of tokens uses the codebook: entropy in bits (at most log2 V), and codewords it never uses."""
    counts = torch.zeros(vocab_size, device=tokens.device).index_add_(
        0, tokens.flatten(), torch.ones(tokens.numel(), device=tokens.device)
    )
    frequencies = counts / counts.sum()
    return {
        "codebook_entropy": entropy_in_bits(frequencies),
        "dead_codes": (counts == 0).sum().float(),
    }


@torch.no_grad()
def pixel_errors(frames: Tensor, reconstructions: Tensor) -> dict[str, Tensor]:
    """Mean |x − x̂| over all pixels, and over frames of the worst pixel, x on [0, 1]; frames as in `tokenizer_loss`.

    A thing of a few pixels that is not drawn at all hardly shows in the first and is 1 in the second.
    """
    errors = (frames - (reconstructions * 0.5 + 0.5).clamp(0.0, 1.0)).abs().flatten(1)  # (N, pixels)
    return {"pixel_error": errors.mean(), "worst_pixel_error": errors.amax(dim=1).mean()}


def _resolutions(config: TokenizerConfig) -> list[int]:
    """From the frame, or its patches, down to the token grid: 64, 32, …, grid_size."""
    resolutions = [FRAME_SIZE // config.patch_size]
    while resolutions[-1] > config.grid_size:
        resolutions.append(resolutions[-1] // 2)
    return resolutions


def _level(config: TokenizerConfig, resolution: int, blocks: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(blocks):
        layers.append(ResidualBlock(config.width, config.norm_groups))
        if resolution in config.attention_resolutions:
            layers.append(SpatialAttention(config.width, config.norm_groups))
    return layers


def _middle(config: TokenizerConfig) -> list[nn.Module]:
    width, groups = config.width, config.norm_groups
    return [ResidualBlock(width, groups), SpatialAttention(width, groups), ResidualBlock(width, groups)]


def _encoder(config: TokenizerConfig) -> list[nn.Module]:
    width = config.width
    patch = config.patch_size
    layers: list[nn.Module] = [FoldPatches(patch), nn.Conv2d(3 * patch**2, width, 3, padding=1)]
    for resolution in _resolutions(config):
        layers += _level(config, resolution, config.residual_blocks)
        if resolution > config.grid_size:
            layers.append(Downsample(width))
    layers += _middle(config)
    return [
        *layers,
        group_norm(width, config.norm_groups),
        nn.SiLU(),
        nn.Conv2d(width, config.codeword_size, 3, padding=1),
    ]


def _decoder(config: TokenizerConfig) -> list[nn.Module]:
    width = config.width
    layers: list[nn.Module] = [nn.Conv2d(config.codeword_size, width, 3, padding=1), *_middle(config)]
    resolutions, channels = _resolutions(config), 3 * config.patch_size**2
    for resolution in reversed(resolutions):
        layers += _level(config, resolution, config.residual_blocks + 1)
        if resolution < resolutions[0]:
            layers.append(Upsample(width))
    layers += [group_norm(width, config.norm_groups), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)]
    return [*layers, UnfoldPatches(config.patch_size)]
