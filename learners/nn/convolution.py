"""Convolutional blocks of the frame encoder and decoder.

Legend: N frames, C channels, H×W resolution.
Source: Esser, Rombach, Ommer (2021), the VQGAN autoencoder that IRIS uses at a smaller size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.nn.precision import GroupNorm


def group_norm(channels: int, groups: int, eps: float = 1e-6) -> nn.GroupNorm:
    return GroupNorm(groups, channels, eps=eps)


class ResidualBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))), resolution kept; to another width, x passes a 1×1 convolution."""

    def __init__(self, channels: int, groups: int, *, out_channels: int | None = None, eps: float = 1e-6) -> None:
        super().__init__()
        out = channels if out_channels is None else out_channels
        self.norm_1 = group_norm(channels, groups, eps)
        self.conv_1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm_2 = group_norm(out, groups, eps)
        self.conv_2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        return self.skip(x) + self.conv_2(F.silu(self.norm_2(hidden)))  # (N, out, H, W)


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


class FoldPatches(nn.Module):
    """(N, C, H, W) -> (N, C·p², H/p, W/p): what `nn.PixelUnshuffle` does, several times faster on a CPU; keeps whether
    channels are innermost in memory."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, x: Tensor) -> Tensor:
        p = self.patch_size
        n, channels, height, width = x.shape
        patches = x.view(n, channels, height // p, p, width // p, p)
        if x.is_contiguous(memory_format=torch.channels_last):
            folded = patches.permute(0, 2, 4, 1, 3, 5).reshape(n, height // p, width // p, channels * p * p)
            return folded.permute(0, 3, 1, 2)
        return patches.permute(0, 1, 3, 5, 2, 4).reshape(n, channels * p * p, height // p, width // p)


class UnfoldPatches(nn.Module):
    """(N, C·p², H, W) -> (N, C, H·p, W·p): what `nn.PixelShuffle` does, and `FoldPatches` undoes."""

    def __init__(self, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, x: Tensor) -> Tensor:
        p = self.patch_size
        n, folded, height, width = x.shape
        channels = folded // (p * p)
        patches = x.view(n, channels, p, p, height, width)
        if x.is_contiguous(memory_format=torch.channels_last):
            pixels = patches.permute(0, 4, 2, 5, 3, 1).reshape(n, height * p, width * p, channels)
            return pixels.permute(0, 3, 1, 2)
        return patches.permute(0, 1, 4, 2, 5, 3).reshape(n, channels, height * p, width * p)


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
