import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learners.learner import count_parameters
from learners.nn.config import ResidualEncoderSize
from learners.nn.convolution import ResidualBlock
from learners.nn.residual_encoder import ResidualDecoder, ResidualEncoder


def normalised(module: nn.Module, *shape: int) -> list[tuple[int, int]]:
    """Channels and resolution of what every GroupNorm sees, in order."""
    seen = []
    for layer in module.modules():
        if isinstance(layer, nn.GroupNorm):
            assert layer.eps == 1e-5
            layer.register_forward_hook(lambda layer, inputs, output: seen.append((output.shape[1], output.shape[2])))
    module(torch.zeros(*shape, device="meta"))
    return seen


def test_levels_and_resolutions_are_the_papers():
    with torch.device("meta"):
        encoder = ResidualEncoder(ResidualEncoderSize(), 7)
        decoder = ResidualDecoder(ResidualEncoderSize(), 84, 3)
    levels = [(64, 64), (64, 64), (64, 32), (64, 32), (64, 32), (128, 32), (128, 16), (128, 16), (128, 8), (256, 8)]
    assert normalised(encoder, 2, 7, 64, 64) == [*levels, (256, 8)]
    back = [(256, 8), (128, 8), (128, 16), (128, 16), (128, 32), (64, 32), (64, 32), (64, 32), (64, 64), (64, 64)]
    assert normalised(decoder, 2, 84, 8, 8) == [*back, (64, 64)]
    assert encoder(torch.zeros(2, 7, 64, 64, device="meta")).shape == (2, 64, 8, 8)
    assert decoder(torch.zeros(2, 84, 8, 8, device="meta")).shape == (2, 3, 64, 64)


def test_sizes_by_hand():
    """Widths 4 and 8, patches of 2 × 2: convolutions 3×3, 2×2 and 1×1 with biases, norms with two numbers a channel."""
    size = ResidualEncoderSize(
        width=4, out_channels=5, multipliers=(1, 2), halve_after=(2,), norm_groups=2, patch_size=2
    )
    stem, same, wider = 12 * 4 * 9 + 4, 8 + 148 + 8 + 148, 8 + (4 * 8 * 9 + 8) + 16 + (64 * 9 + 8) + (32 + 8)
    assert count_parameters(ResidualEncoder(size, 3)) == stem + same + wider + (64 * 4 + 8) + 16 + (40 * 9 + 5)
    assert (size.side, size.num_features) == (16, 5 * 16**2)
    assert ResidualEncoder(size, 3)(torch.zeros(2, 3, 64, 64)).shape == (2, 5, 16, 16)
    assert ResidualDecoder(size, 6, 3)(torch.zeros(2, 6, 16, 16)).shape == (2, 3, 64, 64)


def test_a_block_to_another_width_by_its_formula():
    torch.manual_seed(0)
    block, x = ResidualBlock(4, 2, out_channels=6, eps=0.1), torch.randn(3, 4, 5, 5)
    hidden = block.conv_1(F.silu(F.group_norm(x, 2, eps=0.1)))
    hidden = block.conv_2(F.silu(F.group_norm(hidden, 2, eps=0.1)))
    assert isinstance(block.skip, nn.Conv2d)
    torch.testing.assert_close(block(x), F.conv2d(x, block.skip.weight, block.skip.bias) + hidden)


def test_a_block_that_keeps_its_width_has_no_further_weights():
    names = [f"{layer}.{kind}" for layer in ("norm_1", "conv_1", "norm_2", "conv_2") for kind in ("weight", "bias")]
    assert list(ResidualBlock(4, 2).state_dict()) == names


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 48}, "norm_groups must divide every width"),
        ({"multipliers": ()}, "norm_groups must divide every width"),
        ({"halve_after": (1, 1)}, "halve_after: found"),
        ({"halve_after": (3, 1)}, "halve_after: found"),
        ({"halve_after": (6,)}, "halve_after: found"),
        ({"multipliers": (1,) * 7, "halve_after": (1, 2, 3, 4, 5, 6, 7)}, "which leave no pixel"),
    ],
)
def test_levels_that_do_not_fit_are_refused(settings: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        ResidualEncoderSize.model_validate(settings)
