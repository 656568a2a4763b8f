import pytest
import torch

from learners.iris.config import TransformerConfig
from learners.nn.transformer import Transformer

CONFIG = TransformerConfig(layers=2, heads=2, embedding_size=16, max_blocks=4)


@pytest.fixture
def transformer() -> Transformer:
    torch.manual_seed(0)
    return Transformer(CONFIG).eval()


def test_changing_a_later_position_changes_no_earlier_output(transformer: Transformer):
    x = torch.randn(2, 10, 16)
    changed = x.clone()
    changed[:, 6] += 1.0
    before, after = transformer(x), transformer(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert (before[:, 6:] != after[:, 6:]).any(dim=2).all()


@pytest.mark.parametrize("pieces", [(10,), (1,) * 10, (4, 1, 3, 2), (1, 9)])
@torch.no_grad()
def test_cached_pieces_equal_the_whole_sequence(transformer: Transformer, pieces: tuple[int, ...]):
    x = torch.randn(3, 10, 16)
    cache = transformer.new_cache(3, 12)
    outputs = [transformer(piece, cache) for piece in x.split(list(pieces), dim=1)]
    torch.testing.assert_close(torch.cat(outputs, dim=1), transformer(x), rtol=1e-5, atol=1e-6)
    assert cache.length == 10


@torch.no_grad()
def test_a_cleared_cache_starts_afresh(transformer: Transformer):
    x = torch.randn(1, 5, 16)
    cache = transformer.new_cache(1, 6)
    transformer(torch.randn(1, 4, 16), cache)
    cache.clear()
    torch.testing.assert_close(transformer(x, cache), transformer(x), rtol=1e-5, atol=1e-6)


def test_a_full_cache_refuses_more(transformer: Transformer):
    cache = transformer.new_cache(1, 4)
    with pytest.raises(ValueError, match="holds 4 positions, found 5"):
        transformer(torch.randn(1, 5, 16), cache)


def test_dropout_acts_only_in_training(transformer: Transformer):
    x = torch.randn(1, 5, 16)
    assert torch.equal(transformer(x), transformer(x))
    transformer.train()
    assert not torch.equal(transformer(x), transformer(x))
