import torch

from learners.nn.quantizer import Quantizer


def quantizer_with(codebook: list[list[float]]) -> Quantizer:
    quantizer = Quantizer(len(codebook), len(codebook[0]))
    quantizer.codebook.weight.data = torch.tensor(codebook)
    return quantizer


def test_the_nearest_codeword_is_euclidean():
    # The dot product alone would prefer the long codeword 1 for both.
    quantizer = quantizer_with([[1.0, 0.0], [10.0, 10.0]])
    tokens = quantizer.nearest(torch.tensor([[[2.0, 1.0], [6.0, 6.0]]]))
    assert tokens.tolist() == [[0, 1]]


def test_nearest_agrees_with_pairwise_distances():
    torch.manual_seed(0)
    quantizer, latents = Quantizer(50, 7), torch.randn(3, 5, 7)
    quantizer.codebook.weight.data.normal_()
    expected = torch.cdist(latents.flatten(0, 1), quantizer.codebook.weight).argmin(dim=1).view(3, 5)
    assert torch.equal(quantizer.nearest(latents), expected)


def test_the_straight_through_gradient_reaches_the_latents_unchanged_and_not_the_codebook():
    quantizer = quantizer_with([[1.0, 0.0], [0.0, 1.0]])
    latents = torch.tensor([[[0.9, 0.3]]], requires_grad=True)
    output = quantizer(latents).straight_through
    assert output.tolist() == [[[1.0, 0.0]]]
    output.backward(torch.tensor([[[3.0, -2.0]]]))
    assert latents.grad is not None
    assert latents.grad.tolist() == [[[3.0, -2.0]]]
    assert quantizer.codebook.weight.grad is None


def test_the_codebook_starts_within_one_over_its_size():
    weight = Quantizer(64, 32).codebook.weight
    assert weight.abs().max() <= 1 / 64
    assert weight.abs().max() > 0.9 / 64


def test_an_idle_codeword_moves_onto_a_vector_of_the_batch_when_its_time_has_come():
    quantizer = Quantizer(2, 2, revive_after=3).train()
    quantizer.codebook.weight.data = torch.tensor([[1.0, 0.0], [50.0, 50.0]])
    latents = torch.tensor([[[0.9, 0.1], [0.5, 0.0]]])
    for _ in range(2):
        quantizer(latents)
        assert quantizer.codebook.weight.tolist() == [[1.0, 0.0], [50.0, 50.0]]
    quantizer(latents)
    used, revived = quantizer.codebook.weight.tolist()
    assert used == [1.0, 0.0]
    assert revived in latents[0].tolist()
    assert quantizer.idle.tolist() == [0.0, 0.0]


def test_using_a_codeword_starts_its_time_anew():
    quantizer = Quantizer(2, 1, revive_after=2).train()
    quantizer.codebook.weight.data = torch.tensor([[1.0], [9.0]])
    for latent in (1.0, 9.0, 1.0, 9.0, 1.0):
        quantizer(torch.tensor([[[latent]]]))
    assert quantizer.codebook.weight.tolist() == [[1.0], [9.0]]


def test_no_codeword_moves_in_evaluation_or_without_the_setting():
    latents = torch.zeros(1, 1, 1)
    for quantizer in (Quantizer(2, 1, revive_after=1).eval(), Quantizer(2, 1).train()):
        before = quantizer.codebook.weight.clone()
        for _ in range(3):
            quantizer(latents)
        assert torch.equal(quantizer.codebook.weight, before)
    assert list(Quantizer(2, 1).state_dict()) == ["codebook.weight"]
