import pytest
import torch
from torch import nn

from learners.iris.config import TokenizerConfig
from learners.iris.tokenizer import Encoded, Tokenizer, codebook_use, pixel_errors, tokenizer_loss
from learners.learner import count_parameters
from tests.learners.fakes import TINY_IRIS


def test_the_papers_tokenizer_has_the_papers_parameters():
    tokenizer = Tokenizer(TokenizerConfig())
    assert count_parameters(tokenizer.encoder) == 1_418_240
    assert count_parameters(tokenizer.decoder) == 1_821_827
    assert count_parameters(tokenizer.quantizer) == 262_144
    assert count_parameters(tokenizer.pre_quantizer) == count_parameters(tokenizer.post_quantizer) == 262_656
    assert count_parameters(tokenizer) == 4_027_523


def test_tokens_are_in_row_order():
    tokenizer = Tokenizer(TINY_IRIS.tokenizer)
    tokenizer.encoder = tokenizer.decoder = nn.Sequential()
    tokenizer.pre_quantizer = tokenizer.post_quantizer = nn.Identity()  # type: ignore[assignment]
    grid = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])  # (1, 1, 2, 2)
    latents = tokenizer._latents((grid + 1.0) / 2.0)
    assert latents.flatten().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert torch.equal(tokenizer._decode(latents), grid)


def test_decoded_frames_are_in_the_unit_interval():
    torch.manual_seed(0)
    tokenizer = Tokenizer(TINY_IRIS.tokenizer).eval()
    tokenizer.quantizer.codebook.weight.data.normal_(std=100.0)
    decoded = tokenizer.decode(torch.randint(16, (8, 4)))
    assert decoded.min() >= 0.0
    assert decoded.max() <= 1.0


def test_the_loss_terms_by_hand():
    frames = torch.full((1, 3, 2, 2), 0.75)  # 0.5 on [-1, 1]
    latents = torch.tensor([[[1.0, 2.0]]], requires_grad=True)
    codewords = torch.tensor([[[0.0, 4.0]]], requires_grad=True)
    encoded = Encoded(torch.tensor([[0]]), latents, codewords, codewords)
    terms = tokenizer_loss(frames, encoded, torch.full((1, 3, 2, 2), -0.25), TokenizerConfig())
    assert {name: term.value.item() for name, term in terms.items()} == {
        "codebook": 2.5,
        "commitment": 2.5,
        "reconstruction": 0.75,
    }
    terms["codebook"].value.backward()
    assert latents.grad is None
    assert codewords.grad is not None
    codewords.grad = None
    terms["commitment"].value.backward()
    assert codewords.grad is None
    assert latents.grad is not None
    assert latents.grad.tolist() == [[[1.0, -2.0]]]


def test_codebook_use_counts_bits_and_dead_codes():
    use = codebook_use(torch.tensor([[0, 1], [2, 3]]), 10)
    assert use["codebook_entropy"].item() == 2.0
    assert use["dead_codes"].item() == 6.0


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_patches_change_the_cost_and_no_shape(patch_size: int):
    tokenizer = Tokenizer(TINY_IRIS.tokenizer.model_copy(update={"patch_size": patch_size}))
    frames, resolutions = torch.rand(2, 3, 64, 64), []
    for layer in tokenizer.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.register_forward_hook(lambda layer, inputs, output: resolutions.append(output.shape[-1]))
    encoded, reconstructions = tokenizer(frames)
    assert encoded.tokens.shape == (2, 4)
    assert reconstructions.shape == frames.shape
    assert (max(resolutions), min(resolutions)) == (64 // patch_size, 2)


def test_squared_errors_where_asked():
    frames = torch.zeros(1, 3, 2, 2)  # −1 on [−1, 1]
    codewords = torch.zeros(1, 1, 1)
    encoded = Encoded(torch.zeros(1, 1, dtype=torch.long), codewords, codewords, codewords)
    configs = [TokenizerConfig(reconstruction="l1"), TokenizerConfig(reconstruction="l2")]
    terms = [tokenizer_loss(frames, encoded, torch.ones(1, 3, 2, 2), config) for config in configs]
    assert [term["reconstruction"].value.item() for term in terms] == [2.0, 4.0]


def test_the_quantization_weight_is_of_both_terms_and_of_no_other():
    frames, reconstructions = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    encoded = Encoded(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, 1), *2 * [torch.full((1, 1, 1), 3.0)])
    full = tokenizer_loss(frames, encoded, reconstructions, TokenizerConfig())
    tenth = tokenizer_loss(frames, encoded, reconstructions, TokenizerConfig(quantization_weight=0.1))
    ratios = {name: tenth[name].value.item() / full[name].value.item() for name in full}
    assert ratios == pytest.approx({"codebook": 0.1, "commitment": 0.1, "reconstruction": 1.0})


def test_pixel_errors_by_hand():
    frames = torch.zeros(2, 3, 64, 64)
    frames[0, 0, 5, 5] = 1.0  # a thing of one value that is not drawn
    errors = pixel_errors(frames, torch.full((2, 3, 64, 64), -1.5))  # black, below the range
    assert errors["worst_pixel_error"].item() == 0.5
    assert errors["pixel_error"].item() == pytest.approx(1 / frames.numel())
