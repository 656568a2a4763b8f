"""Legend: B segments, L steps, n frames of context, P = L − n pairs, K = 4 tokens per frame."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from learners.delta_iris.config import DeltaIrisConfig, TokenizerConfig
from learners.delta_iris.presets import CRAFTER
from learners.delta_iris.tokenizer import Encoded, Tokenizer, pixel_errors, real_pairs, tokenizer_loss, windows
from learners.learner import count_parameters
from learners.nn.precision import autocast
from tests.learners.fakes import NUM_ACTIONS, TINY_DELTA_IRIS
from tests.learners.test_no_host_synchronisation import NoReadBack

ATARI = DeltaIrisConfig()

B, P = 2, 3


def tiny(context: int) -> Tokenizer:
    torch.manual_seed(0)
    tokenizer = Tokenizer(TINY_DELTA_IRIS.tokenizer.model_copy(update={"context_frames": context}), NUM_ACTIONS)
    # Larger than N(0, 0.02), and no codewords near zero, so that what depends on an input differs visibly.
    for embedding in (tokenizer.encoder_actions, tokenizer.decoder_actions):
        nn.init.normal_(embedding.weight)
    tokenizer.codebook.codewords.copy_(nn.functional.normalize(torch.randn(16, 8), dim=1))
    return tokenizer


def batch(context: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(B, context + P, 3, 64, 64, generator=generator)
    return frames, torch.randint(NUM_ACTIONS, (B, context + P), generator=generator)


@pytest.mark.parametrize(("config", "num_actions", "count"), [(ATARI, 6, 4_074_419), (CRAFTER, 17, 5_409_611)])
def test_the_papers_tokenizer_has_the_papers_parameters(config: DeltaIrisConfig, num_actions: int, count: int):
    with torch.device("meta"):
        tokenizer = Tokenizer(config.tokenizer, num_actions)
    assert count_parameters(tokenizer) == count
    assert tokenizer.codebook.codewords.shape == (1024, 64)


def test_the_papers_shapes():
    with FakeTensorMode():
        tokenizer = Tokenizer(ATARI.tokenizer, 6)
        encoded, reconstructions = tokenizer(torch.zeros(2, 21, 3, 64, 64), torch.zeros(2, 21, dtype=torch.long))
    assert [each.shape for each in encoded] == [(2, 20, 4), (2, 20, 4, 64), (2, 20, 4, 64)]
    assert reconstructions.shape == (2, 20, 3, 64, 64)


def test_windows_are_the_steps_up_to_each():
    steps = torch.arange(5).view(1, 5, 1)
    assert windows(steps, 3).tolist() == [[[[0], [1], [2]], [[1], [2], [3]], [[2], [3], [4]]]]
    assert windows(steps, 1).tolist() == [[[[step]] for step in range(5)]]


@pytest.mark.parametrize("context", [1, 4])
@torch.no_grad()
def test_a_segment_is_encoded_and_decoded_as_its_frames_one_by_one(context: int):
    tokenizer, (frames, actions) = tiny(context), batch(context)
    encoded, reconstructions = tokenizer(frames, actions)
    for pair in range(P):
        before = slice(pair, pair + context)
        tokens = tokenizer.encode(frames[:, before], actions[:, before], frames[:, pair + context])
        assert torch.equal(tokens, encoded.tokens[:, pair])
        decoded = tokenizer.decode(frames[:, before], actions[:, before], tokens)
        torch.testing.assert_close(decoded, reconstructions[:, pair].clamp(0.0, 1.0), rtol=0.0, atol=0.5 / 255 + 1e-6)
    assert encoded.tokens.unique().numel() > 3
    torch.testing.assert_close(encoded.latents.norm(dim=-1), torch.ones(B, P, 4))


@pytest.mark.parametrize("context", [1, 3])
@torch.no_grad()
def test_a_pair_depends_on_its_context_and_on_no_other_step(context: int):
    tokenizer, (frames, actions) = tiny(context), batch(context)
    encoded, reconstructions = tokenizer(frames, actions)
    for step in range(context + P):
        other_frames, other_actions = frames.clone(), actions.clone()
        other_frames[:, step] = 1.0 - other_frames[:, step]
        other_actions[:, step] = (other_actions[:, step] + 1) % NUM_ACTIONS
        for changed, reaches in (((other_frames, actions), 0), ((frames, other_actions), 1)):
            after, drawn = tokenizer(*changed)
            expected = [pair <= step <= pair + context - reaches for pair in range(P)]
            assert (after.latents != encoded.latents).flatten(2).any(dim=2).any(dim=0).tolist() == expected
            assert (drawn != reconstructions).flatten(2).any(dim=2).any(dim=0).tolist() == expected


class Returns(nn.Module):
    """Stands in for a network: remembers what it saw and returns what it is told."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.output


@torch.no_grad()
def test_tokens_are_quarters_of_the_encoded_frame_in_row_order():
    tokenizer, (frames, actions) = tiny(2), batch(2)
    grid = torch.zeros(B, 4, 8, 8)
    grid[:, :, :4, 4:] = torch.rand(4, 4, 4) + 1.0  # the second quarter
    grid /= grid[0].norm()
    encoder, decoder = Returns(grid), Returns(torch.zeros(()))
    tokenizer.encoder, tokenizer.decoder = encoder, decoder  # type: ignore[assignment]
    tokenizer.pre_codebook = tokenizer.post_codebook = nn.Identity()  # type: ignore[assignment]
    latents = tokenizer._latents(frames[:, :2], actions[:, :2], frames[:, 2])
    assert latents.any(dim=-1).tolist() == [[False, True, False, False]] * B
    features = torch.rand(B, 2, 2, 8, 8)
    tokenizer._decode(features, actions[:, :2], latents)
    assert torch.equal(decoder.seen[:, :4], features.flatten(1, 2))
    assert torch.equal(decoder.seen[:, 4:6], tokenizer.decoder_actions(actions[:, :2]).view(B, 2, 8, 8))
    torch.testing.assert_close(decoder.seen[:, 6:], grid)
    assert torch.equal(encoder.seen[:, :6], frames[:, :2].flatten(1, 2))
    assert torch.equal(encoder.seen[:, 6:8], tokenizer.encoder_actions(actions[:, :2]).view(B, 2, 64, 64))
    assert torch.equal(encoder.seen[:, 8:], frames[:, 2])


def test_reconstruction_trains_every_weight_and_the_codebook_takes_no_gradient():
    tokenizer, (frames, actions) = tiny(2), batch(2)
    before = {name: each.clone() for name, each in tokenizer.codebook.state_dict().items()}
    with NoReadBack():
        encoded, reconstructions = tokenizer(frames, actions)
        mask = real_pairs(torch.ones(B, 2 + P, dtype=torch.bool), 2)
        terms = tokenizer_loss(frames[:, 2:], encoded, reconstructions, mask, tokenizer.config)
        pixel_errors(frames[:, 2:], reconstructions, mask)
        (terms["absolute"].value + terms["squared"].value + terms["worst_pixel"].value).backward()
    gradients = {name: each.grad for name, each in tokenizer.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
    assert all(torch.equal(before[name], each) for name, each in tokenizer.codebook.state_dict().items())


def test_decoded_frames_have_256_levels_of_grey():
    tokenizer = tiny(1)
    nn.init.normal_(tokenizer.post_codebook.weight, std=10.0)
    frames, actions = batch(1)
    decoded = tokenizer.decode(frames[:, :1], actions[:, :1], torch.randint(16, (B, 4))) * 255.0
    torch.testing.assert_close(decoded, decoded.round(), rtol=0.0, atol=1e-4)
    assert decoded.min() >= 0.0
    assert decoded.max() <= 255.0
    assert decoded.unique().numel() > 20


FRAMES = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1, 1).expand(1, 3, 3, 2, 2)
LATENTS = torch.tensor([[[[1.0, 2.0]], [[0.0, 0.0]], [[1.0, 1.0]]]])
CODEWORDS = torch.tensor([[[[0.0, 4.0]], [[0.0, 1.0]], [[1.0, 1.0]]]])


def reconstructed() -> Tensor:
    """Of FRAMES, wrong by 1/4 in every value, by 1/2 in every value and by 2 in a single one of 12."""
    reconstructions = FRAMES + torch.tensor([0.25, -0.5, 0.0]).view(1, 3, 1, 1, 1)
    reconstructions[0, 2, 1, 0, 1] += 2.0
    return reconstructions.requires_grad_()


def test_the_loss_terms_by_hand():
    latents, codewords = LATENTS.clone().requires_grad_(), CODEWORDS.clone().requires_grad_()
    encoded = Encoded(torch.zeros(1, 3, 1, dtype=torch.long), latents, codewords)
    mask = torch.tensor([[True, False, True]])
    terms = tokenizer_loss(FRAMES, encoded, reconstructed(), mask, TokenizerConfig())
    values = {name: term.value.item() for name, term in terms.items()}
    assert values == pytest.approx(
        {
            "commitment": 0.02 * (1 + 4 + 0 + 1 + 0 + 0) / 6,  # padding counts
            "absolute": 0.1 * (1 / 4 + 2 / 12) / 2,
            "squared": (1 / 16 + 4 / 12) / 2,
            "worst_pixel": 0.01 * (1 / 16 + 4) / 2,
        }
    )
    terms["commitment"].value.backward()
    assert codewords.grad is None
    torch.testing.assert_close(latents.grad, 0.02 * 2.0 * (LATENTS - CODEWORDS) / 6)


def test_the_weights_are_of_their_terms():
    encoded = Encoded(torch.zeros(1, 3, 1, dtype=torch.long), LATENTS, CODEWORDS)
    mask = torch.ones(1, 3, dtype=torch.bool)
    config = TokenizerConfig()
    names = {"commitment": "commitment", "absolute": "absolute", "squared": "squared", "worst_pixel": "worst_pixel"}
    before = tokenizer_loss(FRAMES, encoded, reconstructed(), mask, config)
    for name in names:
        setting = f"{name}_weight"
        doubled = config.model_copy(update={setting: 2.0 * getattr(config, setting)})
        after = tokenizer_loss(FRAMES, encoded, reconstructed(), mask, doubled)
        ratios = {each: (after[each].value / before[each].value).item() for each in after}
        assert ratios == pytest.approx({each: 2.0 if each == name else 1.0 for each in names})


def test_reconstructions_of_padded_pairs_are_not_learnt():
    encoded = Encoded(torch.zeros(1, 3, 1, dtype=torch.long), LATENTS, CODEWORDS)
    reconstructions = reconstructed()
    mask = torch.tensor([[True, False, True]])
    terms = tokenizer_loss(FRAMES, encoded, reconstructions, mask, TokenizerConfig())
    torch.stack([term.value for term in terms.values()]).sum().backward()
    assert reconstructions.grad is not None
    assert reconstructions.grad.flatten(2).any(dim=2).tolist() == mask.tolist()


def test_a_pair_is_real_where_both_of_its_frames_are():
    mask = torch.tensor([[False, True, True, False, True], [True, True, True, True, False]])
    assert real_pairs(mask, 1).tolist() == [[False, True, False, False], [True, True, True, False]]
    assert real_pairs(mask, 3).tolist() == [[False, False], [True, False]]


def test_pixel_errors_by_hand():
    """The third frame is 1 where 3 was drawn, which is shown as 1."""
    errors = pixel_errors(FRAMES, reconstructed(), torch.tensor([[True, True, True]]))
    assert {name: error.item() for name, error in errors.items()} == pytest.approx(
        {"pixel_error": (1 / 4 + 1 / 2 + 0) / 3, "worst_pixel_error": (1 / 4 + 1 / 2 + 0) / 3}
    )
    frames = torch.zeros(1, 1, 3, 2, 2)
    frames[0, 0, 0, 0, 0] = 1.0  # a thing of one value that is not drawn
    errors = pixel_errors(frames, torch.zeros_like(frames), torch.tensor([[True]]))
    assert errors["worst_pixel_error"].item() == 1.0
    assert errors["pixel_error"].item() == pytest.approx(1 / 12)
    assert not pixel_errors(frames, torch.zeros_like(frames), torch.tensor([[False]]))["pixel_error"]


@torch.no_grad()
def test_losses_are_computed_from_float32_whatever_the_networks_compute_in():
    tokenizer, (frames, actions) = tiny(1), batch(1)
    with autocast(torch.device("cpu"), "bfloat16"):
        encoded, reconstructions = tokenizer(frames, actions)
    assert {each.dtype for each in (encoded.latents, encoded.codewords, reconstructions)} == {torch.float32}
    torch.testing.assert_close(encoded.latents.norm(dim=-1), torch.ones(B, P, 4))
