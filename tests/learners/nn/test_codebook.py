"""Legend: N encodings, V codewords, D = 2 features."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.nn.codebook import Assignments, Candidates, MovingAverageCodebook, entropy_in_bits
from tests.learners.test_no_host_synchronisation import NoReadBack

TAKEN, NOT_TAKEN = torch.tensor(True), torch.tensor(False)
V = 32
"""log2 V − 2 = 3 bits."""


def codebook_with(
    codewords: Tensor, *, decay: float = 0.99, usage_decay: float = 0.98, revive: bool = False, revive_updates: int = 0
) -> MovingAverageCodebook:
    codebook = MovingAverageCodebook(
        *codewords.shape, decay=decay, usage_decay=usage_decay, revive=revive, revive_updates=revive_updates
    )
    codebook.codewords.copy_(codewords)
    return codebook


def directions(count: int) -> Tensor:
    """(count, 2): of length 1, evenly spread."""
    angles = torch.arange(count) * (2.0 * math.pi / count)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_the_codebook_starts_within_one_over_its_size_and_evenly_used():
    torch.manual_seed(0)
    codebook = MovingAverageCodebook(64, 32, decay=0.99, usage_decay=0.98, revive=True, revive_updates=0)
    assert 0.9 / 64 < codebook.codewords.abs().max() <= 1 / 64
    assert codebook.usage.tolist() == [1 / 64] * 64
    assert codebook.entropy().item() == pytest.approx(6.0)
    assert codebook.updates.dtype == torch.int64
    assert {name: each.shape for name, each in codebook.state_dict().items()} == {
        "codewords": (64, 32),
        "usage": (64,),
        "updates": (),
    }


def test_the_largest_inner_product_is_chosen_also_by_its_length():
    """(0.6, 0.8) is nearer to the second by its angle."""
    codebook = codebook_with(torch.tensor([[0.1, 0.0], [0.0, 0.05]]))
    assert codebook.nearest(torch.tensor([[[0.6, 0.8], [0.0, 1.0]]])).tolist() == [[0, 1]]


def test_the_gradient_passes_to_the_encodings_unchanged():
    codebook = codebook_with(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    encodings = torch.tensor([[[0.8, 0.6]]], requires_grad=True)
    quantized = codebook(encodings)
    assert quantized.straight_through.tolist() == quantized.codewords.tolist() == [[[1.0, 0.0]]]
    assert not quantized.codewords.requires_grad
    quantized.straight_through.backward(torch.tensor([[[3.0, -2.0]]]))
    assert encodings.grad is not None
    assert encodings.grad.tolist() == [[[3.0, -2.0]]]


def test_looking_up_changes_nothing():
    codebook = codebook_with(directions(4), revive=True).train()
    before = {name: each.clone() for name, each in codebook.state_dict().items()}
    encodings = directions(5).view(1, 5, 2)
    codebook.assignments(encodings, codebook(encodings).tokens, torch.rand(9))
    assert all(torch.equal(before[name], each) for name, each in codebook.state_dict().items())


def test_what_a_batch_chose_by_hand():
    codebook = codebook_with(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    encodings = torch.tensor([[[0.8, 0.6], [0.0, 1.0]], [[0.8, -0.6], [1.0, 0.0]]], requires_grad=True)
    found = codebook.assignments(encodings, codebook.nearest(encodings))
    assert found.counts.tolist() == [3.0, 1.0, 0.0]
    torch.testing.assert_close(found.sums, torch.tensor([[2.6, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert found.candidates is None
    assert not found.sums.requires_grad


def test_an_update_by_hand():
    """¾ of the old codeword and ¼ of the direction of those that chose it, then of length 1; ½ of the old usage."""
    codebook = codebook_with(
        torch.tensor([[0.6, 0.8], [0.0, 0.5], [-0.3, -0.4], [0.0, -1.0]]), decay=0.75, usage_decay=0.5
    )
    sums = torch.tensor(
        [[2.4, 1.8], [0.0, 1.0], [0.0, 0.0], [-1.0, 0.0]]
    )  # directions (0.8, 0.6), (0, 1), none, (−1, 0)
    codebook.update(Assignments(torch.tensor([4.0, 3.0, 0.0, 1.0]), sums), TAKEN)
    moved = torch.tensor([[0.45 + 0.2, 0.6 + 0.15], [0.0, 0.375 + 0.25], [-0.225, -0.3], [-0.25, -0.75]])
    lengths = torch.tensor([0.65**2 + 0.75**2, 0.625**2, 0.375**2, 0.25**2 + 0.75**2]).sqrt().unsqueeze(1)
    torch.testing.assert_close(codebook.codewords, moved / lengths)
    torch.testing.assert_close(codebook.usage, torch.tensor([0.375, 0.3125, 0.125, 0.1875]))
    assert codebook.updates.item() == 1


def test_an_unused_codeword_keeps_its_direction():
    codebook = codebook_with(torch.tensor([[0.003, 0.004], [1.0, 0.0]]), decay=0.5)
    for _ in range(20):
        codebook.update(Assignments(torch.tensor([0.0, 2.0]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])), TAKEN)
    torch.testing.assert_close(codebook.codewords[0], torch.tensor([0.6, 0.8]))
    assert codebook.updates.item() == 20


@pytest.mark.parametrize("sums", [1.0, torch.nan, torch.inf])
def test_an_update_not_taken_changes_no_bit(sums: float):
    codebook = codebook_with(0.5 * directions(V), revive=True, revive_updates=10)
    codebook.usage.zero_()[0] = 1.0
    before = {name: each.clone() for name, each in codebook.state_dict().items()}
    candidates = Candidates(torch.full((V, 2), sums), torch.rand(V, generator=torch.Generator().manual_seed(0)))
    codebook.update(Assignments(torch.full((V,), sums), torch.full((V, 2), sums), candidates), NOT_TAKEN)
    assert all(torch.equal(before[name], each) for name, each in codebook.state_dict().items())


def test_two_halves_of_a_batch_add_up_to_the_whole():
    """Multiples of 1/8, whose sums are exact."""
    whole = torch.randint(-8, 9, (1, 64, 2), generator=torch.Generator().manual_seed(0)) / 8.0
    one, other = codebook_with(directions(5)), codebook_with(directions(5))
    one.update(one.assignments(whole, one.nearest(whole)), TAKEN)
    halves = [other.assignments(half, other.nearest(half)) for half in whole.split(40, dim=1)]
    other.update(halves[0] + halves[1], TAKEN)
    assert not torch.equal(one.codewords, directions(5))
    assert all(torch.equal(one.state_dict()[name], each) for name, each in other.state_dict().items())


def test_halves_with_candidates_do_not_add_up():
    codebook = codebook_with(directions(4), revive=True)
    half = codebook.assignments(directions(4), torch.arange(4), torch.rand(8))
    with pytest.raises(ValueError, match="needs the joint batch"):
        _ = half + half


def revived(
    usage: Tensor, *, updates: int = 0, revive_updates: int = 0, encodings: int = 200
) -> tuple[MovingAverageCodebook, list[int], Tensor]:
    """A codebook after an update that leaves codewords and usage as they are but for revival, the codewords that were
    revived, and the encodings."""
    codebook = codebook_with(directions(V), decay=1.0, usage_decay=1.0, revive=True, revive_updates=revive_updates)
    codebook.usage.copy_(usage)
    codebook.updates.fill_(updates)
    generator = torch.Generator().manual_seed(0)
    batch = F.normalize(torch.randn(encodings, 2, generator=generator), dim=1)
    uniforms = torch.rand(encodings + V, generator=generator)
    codebook.update(codebook.assignments(batch, codebook.nearest(batch), uniforms), TAKEN)
    moved = (codebook.codewords - directions(V)).abs().amax(dim=1) > 1e-4
    return codebook, moved.nonzero().flatten().tolist(), batch


def evenly(used: int) -> Tensor:
    """The usage of V codewords of which the first so many are used alike: log2(used) bits."""
    return (torch.arange(V) < used) / float(used)


def test_unused_codewords_become_distinct_encodings_and_count_as_used():
    codebook, moved, batch = revived(evenly(1))
    assert moved == list(range(1, V))
    same = (codebook.codewords[1:].unsqueeze(1) - batch).abs().amax(dim=2) < 1e-6  # (V - 1, N)
    assert same.sum(dim=1).tolist() == [1] * (V - 1)
    assert same.sum(dim=0).max().item() == 1
    assert codebook.usage.tolist() == [1.0] + [1 / V] * (V - 1)
    torch.testing.assert_close(codebook.codewords[0], directions(V)[0])


def test_at_most_as_many_as_encodings_are_revived_and_the_uniforms_say_which():
    codebook = codebook_with(directions(V), decay=1.0, usage_decay=1.0, revive=True)
    codebook.usage.copy_(evenly(2) * torch.tensor([1.9, *[0.1] * (V - 1)]))  # less than 1 bit
    batch = F.normalize(torch.tensor([[3.0, 1.0], [-1.0, 2.0], [-2.0, -1.0]]), dim=1)
    keys = torch.linspace(0.5, 0.9, V)
    keys[0], keys[9], keys[20], keys[5] = 0.0, 0.1, 0.2, 0.3  # codeword 0 is used
    uniforms = torch.cat([torch.tensor([0.7, 0.1, 0.4]), keys])  # encodings 1, 2, 0
    codebook.update(codebook.assignments(batch, codebook.nearest(batch), uniforms), TAKEN)
    expected, expected_usage = directions(V), codebook.usage.clone()
    expected[9], expected[20], expected[5] = batch[1], batch[2], batch[0]
    expected_usage[[9, 20, 5]] = 1 / V
    torch.testing.assert_close(codebook.codewords, expected)
    torch.testing.assert_close(codebook.usage, expected_usage)
    assert codebook.usage[[2, 3]].tolist() == [0.0, 0.0]


def test_three_bits_are_enough_not_to_revive():
    assert revived(evenly(8), revive_updates=400)[1] == []
    assert revived(evenly(7), revive_updates=400)[1] == list(range(7, V))


def test_from_one_bit_on_only_the_first_updates_revive():
    assert revived(evenly(2), updates=399, revive_updates=400)[1] == list(range(2, V))
    assert revived(evenly(2), updates=400, revive_updates=400)[1] == []
    assert revived(evenly(2))[1] == []


def test_below_one_bit_any_update_revives():
    assert revived(torch.tensor([0.51, 0.49, *[0.0] * (V - 2)]), updates=10**9)[1] == list(range(2, V))


def test_a_tenth_of_the_even_share_is_use_enough():
    usage = evenly(1)
    usage[3] = 1 / (10 * V)
    usage[4] = torch.nextafter(usage[3], torch.tensor(0.0))
    assert revived(usage)[1] == [1, 2, *range(4, V)]


def test_the_entropy_is_that_of_the_new_usage():
    """Before: one codeword, 0 bits. After: 16 codewords alike, 4 bits."""
    codebook = codebook_with(directions(V), decay=1.0, usage_decay=0.0, revive=True, revive_updates=9)
    codebook.usage.copy_(evenly(1))
    batch = directions(V)[:16]
    codebook.update(codebook.assignments(batch, codebook.nearest(batch), torch.rand(16 + V)), TAKEN)
    torch.testing.assert_close(codebook.usage, evenly(16))


def test_a_codebook_that_revives_wants_its_randomness():
    codebook = codebook_with(directions(4), revive=True)
    with pytest.raises(ValueError, match="takes 9 uniforms: found none"):
        codebook.assignments(directions(5), torch.zeros(5, dtype=torch.long))
    with pytest.raises(ValueError, match="takes 9 uniforms: found 8"):
        codebook.assignments(directions(5), torch.zeros(5, dtype=torch.long), torch.rand(8))


@pytest.mark.parametrize("encodings", [5, 100])
def test_an_update_reads_no_value_back(encodings: int):
    codebook, batch = codebook_with(directions(V), revive=True), directions(encodings)
    uniforms = torch.rand(encodings + V)
    with NoReadBack():
        codebook.update(codebook.assignments(batch, codebook.nearest(batch), uniforms), TAKEN)


def test_entropy_leaves_zeros_out():
    assert entropy_in_bits(torch.tensor([0.5, 0.25, 0.25, 0.0])).item() == 1.5
