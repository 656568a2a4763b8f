"""Convolutional blocks of the frame encoder and decoder.

Legend: N frames, C channels, H×W resolution.
Source: Esser, Rombach, Ommer (2021), the VQGAN autoencoder that IRIS uses at a smaller size.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from learners.nn.precision import GroupNorm


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    return GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))), width and resolution kept."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm_1 = group_norm(channels, groups)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_2 = group_norm(channels, groups)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        return x + self.conv_2(F.silu(self.norm_2(hidden)))  # (N, C, H, W)


class SpatialAttention(nn.Module):
    """Single-head self-attention over the H·W positions, added to the input; scale C^-1/2."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        query, key, value = (
            layer(normed).flatten(2).transpose(1, 2).unsqueeze(1) for layer in (self.query, self.key, self.value)
        )  # each (N, 1, H*W, C)
        attended = F.scaled_dot_product_attention(query, key, value)
        attended = attended.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:])  # (N, C, H, W)
        return x + self.out(attended)


class Downsample(nn.Module):
    """Halves the resolution: strided 3×3 convolution, zero-padded on the right and at the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # (N, C, H/2, W/2)


class Upsample(nn.Module):
    """Doubles the resolution: nearest neighbour, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))  # (N, C, 2H, 2W)
