"""Legend: B batch, T blocks, K = 4 tokens per frame, V = 16 tokens."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.iris.config import TransformerConfig
from learners.iris.gpt import Gpt, Predictions, gpt_loss
from learners.learner import count_parameters
from tests.learners.fakes import NUM_ACTIONS, TINY_IRIS

B, T, K, V = 2, 3, 4, 16


@pytest.fixture(params=["joint", "factorised"])
def gpt(request: pytest.FixtureRequest) -> Gpt:
    torch.manual_seed(0)
    config = TINY_IRIS.world_model.model_copy(update={"positions": request.param})
    gpt = Gpt(config, vocab_size=V, tokens_per_frame=K, num_actions=NUM_ACTIONS).eval()
    # Larger weights than N(0, 0.02), so that what depends on an input differs visibly.
    for parameter in gpt.parameters():
        parameter.data.mul_(10.0) if parameter.ndim > 1 else None
    return gpt


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(V, (B, T, K), generator=generator)
    actions = torch.randint(NUM_ACTIONS, (B, T), generator=generator)
    rewards = torch.randint(-2, 3, (B, T), generator=generator).float()
    ends = torch.rand((B, T), generator=generator) < 0.3
    return tokens, actions, rewards, ends, torch.ones(B, T, dtype=torch.bool)


def test_the_papers_gpt_has_the_papers_parameters():
    gpt = Gpt(TransformerConfig(), vocab_size=512, tokens_per_frame=16, num_actions=6)
    assert count_parameters(gpt) == 8_448_005


def test_a_prediction_depends_on_what_came_before_and_on_nothing_later(gpt: Gpt):
    """Position (t, k) is token k of frame t, position (t, K) its action."""
    tokens, actions, *_ = batch()
    before = gpt(tokens, actions)
    for t in range(T):
        for k in range(K + 1):
            changed_tokens, changed_actions = tokens.clone(), actions.clone()
            if k < K:
                changed_tokens[:, t, k] = (changed_tokens[:, t, k] + 1) % V
            else:
                changed_actions[:, t] = (changed_actions[:, t] + 1) % NUM_ACTIONS
            after = gpt(changed_tokens, changed_actions)
            changed = (before.next_tokens != after.next_tokens).any(dim=3).any(dim=0)  # (T, K)
            assert torch.equal(changed, _read_at_or_after(t, k)), (t, k)
            rewards_changed = (before.rewards != after.rewards).any(dim=2).any(dim=0)
            assert rewards_changed.tolist() == [block >= t for block in range(T)]


def _read_at_or_after(t: int, k: int) -> Tensor:
    """Which of the next-token predictions (T, K) are read at position (t, k) or later."""
    read_at = torch.tensor([0, 1, 2, K])  # tokens 0..K-2 and the action
    blocks = torch.arange(T).unsqueeze(1)
    return (blocks > t) | ((blocks == t) & (read_at >= k))


def test_losses_by_hand():
    """Uniform logits cost ln V, ln 3 and ln 2; a certain right answer costs nothing."""
    tokens, _, rewards, ends, mask = batch()
    predictions = Predictions(torch.zeros(B, T, K, V), torch.zeros(B, T, 3), torch.zeros(B, T, 2))
    terms, _ = gpt_loss(predictions, tokens, rewards, ends, mask)
    expected = {"tokens": torch.tensor(16.0).log(), "rewards": torch.tensor(3.0).log(), "ends": torch.tensor(2.0).log()}
    for name, term in terms.items():
        torch.testing.assert_close(term.value, expected[name])
    following = torch.cat([tokens.flatten(1)[:, 1:], torch.zeros(B, 1, dtype=torch.long)], dim=1)
    certain = Predictions(
        F.one_hot(following.view(B, T, K), V) * 100.0,
        F.one_hot(rewards.sign().long() + 1, 3) * 100.0,
        F.one_hot(ends.long(), 2) * 100.0,
    )
    terms, metrics = gpt_loss(certain, tokens, rewards, ends, mask)
    assert {name: term.value.item() for name, term in terms.items()} == {"tokens": 0.0, "rewards": 0.0, "ends": 0.0}
    assert {name: metric.item() for name, metric in metrics.items()} == {
        "token_accuracy": 1.0,
        "reward_accuracy": 1.0,
        "end_accuracy": 1.0,
    }


def test_padding_changes_no_loss(gpt: Gpt):
    """A segment padded on the right costs what the short one costs, whatever the padding holds."""
    tokens, actions, rewards, ends, _ = batch()
    short = 2
    terms, metrics = gpt_loss(
        gpt(tokens[:, :short], actions[:, :short]),
        tokens[:, :short],
        rewards[:, :short],
        ends[:, :short],
        torch.ones(B, short, dtype=torch.bool),
    )
    mask = torch.arange(T).expand(B, T) < short
    padded_terms, padded_metrics = gpt_loss(gpt(tokens, actions), tokens, rewards, ends, mask)
    for name, term in terms.items():
        torch.testing.assert_close(padded_terms[name].value, term.value)
    torch.testing.assert_close(padded_metrics, metrics)


def test_the_token_loss_averages_over_labels_not_over_segments(gpt: Gpt):
    """One long and one short segment: K·3 − 1 labels and K − 1 labels, each counts the same."""
    tokens, actions, rewards, ends, _ = batch()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    predictions = gpt(tokens, actions)
    terms, _ = gpt_loss(predictions, tokens, rewards, ends, mask)
    logits, labels = predictions.next_tokens.flatten(1, 2), tokens.flatten(1)
    costs = [
        F.cross_entropy(logits[b, i], labels[b, i + 1]) for b, last in ((0, 3 * K - 1), (1, K - 1)) for i in range(last)
    ]
    torch.testing.assert_close(terms["tokens"].value, torch.stack(costs).mean())


def test_factorised_positions_are_a_block_and_a_place_in_it():
    config = TransformerConfig(layers=1, heads=1, embedding_size=8, max_blocks=3, positions="factorised")
    gpt = Gpt(config, vocab_size=V, tokens_per_frame=K, num_actions=NUM_ACTIONS)
    table = gpt.positions()
    assert table.shape == (3 * (K + 1), 8)
    for block in range(3):
        for slot in range(K + 1):
            expected = gpt.block_embedding.weight[block] + gpt.slot_embedding.weight[slot]
            assert torch.equal(table[block * (K + 1) + slot], expected)


def test_fan_in_initialisation_keeps_the_scale_of_a_narrow_network():
    torch.manual_seed(0)
    config = TransformerConfig(embedding_size=64, initialisation="fan_in")
    gpt = Gpt(config, vocab_size=512, tokens_per_frame=16, num_actions=6)
    parameters = dict(gpt.named_parameters())
    spreads = {
        "transformer.blocks.0.attention.query_key_value.weight": 1 / 8,
        "transformer.blocks.0.mlp.2.weight": 1 / 16,
        "token_embedding.weight": 1.0,
    }
    for name, spread in spreads.items():
        assert parameters[name].std().item() == pytest.approx(spread, rel=0.05)
    assert not parameters["transformer.blocks.0.mlp.2.bias"].any()
