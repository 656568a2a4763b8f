"""Folding pixels into channels is torch's own, in values and in memory."""

import pytest
import torch
from torch import nn

from learners.nn.convolution import FoldPatches, UnfoldPatches


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_folding_and_unfolding_are_torchs_pixel_shuffles(patch_size: int, memory_format: torch.memory_format):
    frames = torch.rand(2, 3, 8, 16).to(memory_format=memory_format)
    folded = nn.PixelUnshuffle(patch_size)(frames)
    for found, expected in (
        (FoldPatches(patch_size)(frames), folded),
        (UnfoldPatches(patch_size)(folded), nn.PixelShuffle(patch_size)(folded)),
        (UnfoldPatches(patch_size)(FoldPatches(patch_size)(frames)), frames),
    ):
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
