"""The sequence task: what sequences are, how far networks see, and that attention learns what convolution cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from learners.toy import training as module
from learners.toy.config import SequencesConfig, ToyNetworkConfig, ToyTrainingConfig
from learners.toy.networks import Attention, ToyNetwork
from learners.toy.sequences import TRIANGLES, Sequences, make_sequences, outlines
from learners.toy.training import DivergedError, same_pair_mass, train

TINY = ToyTrainingConfig(sequences=50, test_sequences=20, epochs=2, batch_size=10)


def made(count: int = 300, seed: int = 0, **settings: Any) -> Sequences:
    return make_sequences(SequencesConfig(**settings), count, np.random.default_rng(seed))


def network(kind: str, **settings: Any) -> ToyNetwork:
    torch.manual_seed(0)
    return ToyNetwork(ToyNetworkConfig.model_validate({"kind": kind, **settings}), 7, mean=4.0, std=6.0)


def test_outlines_by_hand():
    shapes = np.array([[[10.0, 8.0, 6.0], [30.0, 4.0, 8.0], [50.0, 3.0, 6.0], [70.5, 5.0, 5.0]]])
    triangle, other, rectangle, between = outlines(shapes, 100)[0]
    assert triangle[8:14].tolist() == pytest.approx(
        [8 - 16 / 6 * 1.5, 8 - 16 / 6 * 0.5, 8.0, 8 - 16 / 6 * 0.5, 4.0, 4 / 3]
    )
    assert other[30] == 4.0
    assert rectangle[46:55].tolist() == [0, 0, 3, 3, 3, 3, 3, 0, 0]
    assert between[67:75].tolist() == [0, 0, 5, 5, 5, 5, 0, 0]


def test_targets_are_as_high_as_the_mean_of_their_pair():
    sequences = made()
    heights = sequences.shapes[..., 1]
    for index, kinds in ((0, slice(0, 2)), (1, slice(2, 4))):
        expected = heights[:, kinds].mean(axis=1)
        for shape in range(*kinds.indices(4)):
            centre = sequences.shapes[:, shape, 0].round().astype(int)
            found = sequences.clean[np.arange(len(centre)), 0, centre]
            assert found == pytest.approx(expected, rel=1e-6) if index else (np.abs(found - expected) < 1e-5).all()
    assert (sequences.pairs == np.where(TRIANGLES, 0, 1)).all()


def test_pairs_of_places_are_the_two_on_the_left_and_the_two_on_the_right():
    sequences = made(group="place")
    left = np.sort(sequences.shapes[..., 0], axis=1)[:, 1]
    assert (sequences.pairs == (sequences.shapes[..., 0] > left[:, None])).all()
    means = [np.where(sequences.pairs == pair, sequences.shapes[..., 1], 0).sum(axis=1) / 2 for pair in (0, 1)]
    assert (np.abs(means[0] - means[1]) > 4.0).all()
    assert (np.abs(sequences.shapes[:, 0, 1] - sequences.shapes[:, 1, 1]) < 4.0).any()


def test_no_two_shapes_touch_and_heights_of_a_pair_differ():
    covered = outlines(made().shapes, 100) > 0
    wider = covered | np.roll(covered, 1, axis=2) | np.roll(covered, -1, axis=2)
    assert wider.sum(axis=1).max() == 1
    heights = made().shapes[..., 1]
    assert (np.abs(heights[:, 0] - heights[:, 1]) > 4.0).all()
    assert (np.abs(heights[:, 2] - heights[:, 3]) > 4.0).all()
    alike = made(rectangles_differ=False).shapes[..., 1]
    assert (np.abs(alike[:, 0] - alike[:, 1]) > 4.0).all()
    assert (np.abs(alike[:, 2] - alike[:, 3]) < 4.0).any()


def test_noise_is_of_its_size_and_another_in_input_and_target():
    sequences = made(1000)
    unlevelled = outlines(sequences.shapes, 100).max(axis=1)
    first, second = sequences.inputs[:, 0] - unlevelled, (sequences.targets - sequences.clean)[:, 0]
    for noise in (first, second):
        assert np.var(noise) == pytest.approx(0.3**2 / 12, rel=0.02)
        assert np.abs(noise).max() <= 0.1501
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_the_same_seed_makes_the_same_sequences():
    assert all(np.array_equal(*each) for each in zip(made(20), made(20), strict=True))
    assert not np.array_equal(made(20).inputs, made(20, seed=1).inputs)


def test_where_four_shapes_have_no_room_is_refused():
    with pytest.raises(ValidationError, match="length: found 51, expected at least 52, so that four shapes have room"):
        SequencesConfig(length=51)
    assert made(2, length=60).inputs.shape == (2, 1, 60)


@pytest.mark.parametrize(("kind", "parameters"), [("conv", 62_337), ("attention", 54_081)])
def test_networks_have_the_published_sizes(kind: str, parameters: int):
    assert sum(each.numel() for each in network(kind).parameters()) == parameters
    more = sum(each.numel() for each in network(kind, positions="binary").parameters())
    assert more == parameters + 7 * 64 * 5


def test_rows_of_attention_sum_to_one_and_places_are_alike_to_it():
    torch.manual_seed(0)
    layer, x = Attention(8), torch.randn(2, 8, 20)
    torch.testing.assert_close(layer.weights(x).sum(dim=2), torch.ones(2, 20))
    order = torch.randperm(20)
    torch.testing.assert_close(layer(x[..., order]), layer(x)[..., order])
    by_hand = torch.einsum("nts,ncs->nct", layer.weights(x), layer.value(x))
    torch.testing.assert_close(layer(x), by_hand)
    scaled = Attention(8, scale=True)
    scaled.load_state_dict(layer.state_dict())
    torch.testing.assert_close((8**0.5 * scaled.weights(x).log()).softmax(dim=2), layer.weights(x))


def test_convolution_sees_ten_samples_and_attention_all_of_them():
    for kind in ("conv", "attention"):
        x = torch.randn(1, 1, 100, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(network(kind)(x)[0, 0, 50], x)
        reach = gradient[0, 0].abs()
        assert reach[40:61].min() > 0
        assert bool(torch.cat([reach[:40], reach[61:]]).max() > 0) is (kind == "attention")


def test_positions_are_bits():
    seen = network("attention", positions="binary")._prepared(torch.zeros(1, 1, 100)) * 6.0 + 4.0
    assert seen.shape == (1, 8, 100)
    assert seen[0, 1:, 37].round().tolist() == [1, 0, 1, 0, 0, 1, 0]  # 37 = 1 + 4 + 32


def test_mass_is_the_share_of_ones_own_pair():
    sequences = made(3)
    covered = torch.from_numpy(outlines(sequences.shapes, 100) > 0).float()  # (3, 4, 100)
    own = torch.einsum("npt,nps->nts", *[torch.stack([covered[:, :2].sum(1), covered[:, 2:].sum(1)], 1)] * 2)
    assert same_pair_mass(own, sequences) == pytest.approx(1.0)
    others = torch.ones(3, 100, 100) - own
    assert same_pair_mass(others, sequences) == pytest.approx(0.0)


def test_the_same_seed_trains_the_same_and_other_networks_on_the_same_sequences():
    runs = [train(SequencesConfig(), ToyNetworkConfig(kind="attention"), TINY, seed) for seed in (3, 3, 4)]
    assert runs[0].errors == runs[1].errors
    assert runs[0].errors != runs[2].errors
    assert runs[0].errors[-1] < runs[0].errors[0]
    other = train(SequencesConfig(), ToyNetworkConfig(kind="conv"), TINY, 3)
    assert np.array_equal(other.test.inputs, runs[0].test.inputs)


def test_a_loss_that_is_not_finite_stops(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.ToyNetwork, "forward", lambda self, x: x * self.after[-1].bias * float("nan"))
    with pytest.raises(DivergedError, match=r"^loss is nan in epoch 1, expected a finite one"):
        train(SequencesConfig(), ToyNetworkConfig(), TINY, 0)
