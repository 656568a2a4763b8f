"""Residual encoder of frames and the decoder that mirrors it.

Legend: N frames, C channels, s×s resolution of the encoded frame (8×8 by default).
Source: Micheli, Alonso, Fleuret (2024).
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from learners.nn.config import ResidualEncoderSize
from learners.nn.convolution import FoldPatches, ResidualBlock, UnfoldPatches, Upsample, group_norm

_EPS = 1e-5


class ResidualEncoder(nn.Sequential):
    """(N, C, 64, 64) -> (N, out_channels, s, s): a 3×3 stem, a residual block per level, 2×2 convolutions of stride 2
    where the resolution is halved, and norm, swish, 3×3 convolution."""

    def __init__(self, size: ResidualEncoderSize, in_channels: int) -> None:
        patch = size.patch_size
        stem = nn.Conv2d(in_channels * patch**2, size.width, 3, padding=1)
        layers: list[nn.Module] = [FoldPatches(patch), stem]
        for level, (before, width) in enumerate(pairwise((size.width, *size.widths)), start=1):
            layers.append(ResidualBlock(before, size.norm_groups, out_channels=width, eps=_EPS))
            if level in size.halve_after:
                layers.append(nn.Conv2d(width, width, 2, stride=2))
        super().__init__(*layers, *_output(size.widths[-1], size.norm_groups, size.out_channels))


class ResidualDecoder(nn.Sequential):
    """(N, C, s, s) -> (N, out_channels, 64, 64): the levels of the encoder backwards; each first doubles the resolution
    if the encoder halved it there, then its block narrows to the width of the level below."""

    def __init__(self, size: ResidualEncoderSize, in_channels: int, out_channels: int) -> None:
        widths = size.widths[::-1]
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 3, padding=1)]
        for index, (width, below) in enumerate(pairwise((*widths, widths[-1]))):
            if len(widths) - index in size.halve_after:
                layers.append(Upsample(width))
            layers.append(ResidualBlock(width, size.norm_groups, out_channels=below, eps=_EPS))
        output = _output(widths[-1], size.norm_groups, out_channels * size.patch_size**2)
        super().__init__(*layers, *output, UnfoldPatches(size.patch_size))


def _output(width: int, groups: int, out_channels: int) -> list[nn.Module]:
    return [group_norm(width, groups, _EPS), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1)]
