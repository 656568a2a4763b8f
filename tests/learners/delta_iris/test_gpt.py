"""Legend: B batch, T = 4 blocks, K = 4 tokens per transition, V = 16 tokens; position (t, 0) is frame t, (t, 1) its
action, (t, 2 + k) token k of the transition to frame t + 1."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.delta_iris.config import DeltaIrisConfig, WorldModelConfig
from learners.delta_iris.gpt import Gpt, Predictions, gpt_loss
from learners.delta_iris.presets import CRAFTER
from learners.learner import count_parameters
from learners.nn.precision import autocast
from learners.nn.two_hot import two_hot
from tests.learners.fakes import NUM_ACTIONS, TINY_DELTA_IRIS
from tests.learners.test_no_host_synchronisation import NoReadBack

ATARI = DeltaIrisConfig()

B, T, K, V = 2, 4, 4, 16
TINY = TINY_DELTA_IRIS.world_model
TWO_HOT = TINY.model_copy(update={"rewards": "two_hot", "reward_buckets": 5})
ALL = torch.ones(B, T, dtype=torch.bool)


@pytest.fixture
def gpt() -> Gpt:
    torch.manual_seed(0)
    gpt = Gpt(TINY, vocab_size=V, tokens_per_frame=K, num_actions=NUM_ACTIONS).eval()
    # Larger weights than N(0, 0.02), so that what depends on an input differs visibly.
    for name, parameter in gpt.named_parameters():
        if parameter.ndim > 1 and not name.startswith("frame_encoder"):
            parameter.data.mul_(10.0)
    return gpt


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Frames, actions, tokens, rewards and ends."""
    generator = torch.Generator().manual_seed(0)
    return (
        torch.rand(B, T, 3, 64, 64, generator=generator),
        torch.randint(NUM_ACTIONS, (B, T), generator=generator),
        torch.randint(V, (B, T - 1, K), generator=generator),
        torch.randint(-2, 3, (B, T), generator=generator).float(),
        torch.rand((B, T), generator=generator) < 0.3,
    )


@pytest.mark.parametrize(("config", "num_actions", "count"), [(ATARI, 6, 3_577_769), (CRAFTER, 17, 11_948_457)])
def test_the_papers_gpt_has_the_papers_parameters(config: DeltaIrisConfig, num_actions: int, count: int):
    with torch.device("meta"):
        gpt = Gpt(config.world_model, vocab_size=1024, tokens_per_frame=4, num_actions=num_actions)
        assert count_parameters(gpt) == count
        frames, actions = torch.zeros(2, 3, 3, 64, 64), torch.zeros(2, 3, dtype=torch.long)
        predictions = gpt(frames, actions, torch.zeros(2, 2, 4, dtype=torch.long))
    assert predictions.tokens.shape == (2, 2, 4, 1024)
    assert predictions.rewards.shape == (2, 3, config.world_model.reward_classes)
    assert predictions.ends.shape == (2, 3, 2)


@torch.no_grad()
def test_a_prediction_depends_on_what_came_before_and_on_nothing_later(gpt: Gpt):
    frames, actions, tokens, *_ = batch()
    before = gpt(frames, actions, tokens)
    read_at = torch.arange(1, K + 1)  # place in its block at which a token is predicted
    blocks = torch.arange(T - 1).unsqueeze(1)
    for t in range(T):
        for place in range(K + 2 if t < T - 1 else 2):
            inputs = frames.clone(), actions.clone(), tokens.clone()
            if place == 0:
                inputs[0][:, t] = 1.0 - inputs[0][:, t]
            elif place == 1:
                inputs[1][:, t] = (inputs[1][:, t] + 1) % NUM_ACTIONS
            else:
                inputs[2][:, t, place - 2] = (inputs[2][:, t, place - 2] + 1) % V
            after = gpt(*inputs)
            changed = (before.tokens != after.tokens).any(dim=3).any(dim=0)  # (T - 1, K)
            assert torch.equal(changed, (blocks > t) | ((blocks == t) & (read_at >= place))), (t, place)
            for one, other in ((before.rewards, after.rewards), (before.ends, after.ends)):
                at_or_after = [block > t or (block == t and place <= 1) for block in range(T)]
                assert (one != other).any(dim=2).any(dim=0).tolist() == at_or_after, (t, place)


@pytest.mark.parametrize("pieces", [(20,), (1,) * 20, (2, 5, 1, 12)])
@torch.no_grad()
def test_cached_pieces_predict_what_the_whole_does(gpt: Gpt, pieces: tuple[int, ...]):
    frames, actions, tokens, *_ = batch()
    expected = gpt(frames, actions, tokens)
    sequence = []
    for t in range(T):
        sequence += [gpt.embed_frames(frames[:, t]).unsqueeze(1), gpt.action_embedding(actions[:, t]).unsqueeze(1)]
        sequence += [gpt.token_embedding(tokens[:, t])] if t < T - 1 else []
    cache = gpt.transformer.new_cache(B, gpt.max_positions)
    hidden = [gpt.advance(piece, cache) for piece in torch.cat(sequence, dim=1).split(list(pieces), dim=1)]
    hidden = torch.cat(hidden, dim=1)  # (B, T(K + 2) − K, E)
    at_actions = hidden[:, [1, 7, 13, 19]]
    torch.testing.assert_close(gpt.reward_head(at_actions), expected.rewards, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gpt.end_head(at_actions), expected.ends, rtol=1e-5, atol=1e-5)
    for t in range(T - 1):
        at_tokens = hidden[:, 6 * t + 1 : 6 * t + 5]
        torch.testing.assert_close(gpt.token_head(at_tokens), expected.tokens[:, t], rtol=1e-5, atol=1e-5)


def zeros(config: WorldModelConfig) -> Predictions:
    shapes = (B, T - 1, K, V), (B, T, config.reward_classes), (B, T, 2)
    return Predictions(*(torch.zeros(shape).requires_grad_() for shape in shapes))


@pytest.mark.parametrize("config", [TINY, TINY.model_copy(update={"token_weight": 3.0, "end_weight": 5.0})])
def test_losses_by_hand(config: WorldModelConfig):
    """Equal logits cost ln V, ln 3 and ln 2 times the weights; a certain right answer costs nothing."""
    _, _, tokens, rewards, ends = batch()
    terms, _ = gpt_loss(zeros(config), tokens, rewards, ends, ALL, config)
    assert {name: term.value.item() for name, term in terms.items()} == pytest.approx(
        {
            "tokens": config.token_weight * math.log(V),
            "rewards": config.reward_weight * math.log(3),
            "ends": config.end_weight * math.log(2),
        }
    )
    certain = Predictions(
        F.one_hot(tokens, V) * 100.0, F.one_hot(rewards.sign().long() + 1, 3) * 100.0, F.one_hot(ends.long(), 2) * 100.0
    )
    terms, metrics = gpt_loss(certain, tokens, rewards, ends, ALL, config)
    assert [term.value.item() for term in terms.values()] == [0.0, 0.0, 0.0]
    assert {name: metric.item() for name, metric in metrics.items()} == {
        "token_accuracy": 1.0,
        "reward_accuracy": 1.0,
        "end_accuracy": 1.0,
    }


def test_two_hot_rewards_by_hand():
    _, _, tokens, _, ends = batch()
    rewards = torch.tensor([[0.0, 1.0, -3.0, 100.0], [0.5, 0.0, 0.0, 0.0]])
    terms, metrics = gpt_loss(zeros(TWO_HOT), tokens, rewards, ends, ALL, TWO_HOT)
    assert terms["rewards"].value.item() == pytest.approx(math.log(5))
    assert metrics["reward_error"].item() == pytest.approx(rewards.abs().mean().item(), abs=1e-5)
    right = zeros(TWO_HOT)._replace(rewards=two_hot(rewards, 5).log())
    _, metrics = gpt_loss(right, tokens, rewards, ends, ALL, TWO_HOT)
    assert metrics["reward_error"].item() == pytest.approx(0.0, abs=1e-3)
    assert set(metrics) == {"token_accuracy", "reward_error", "end_accuracy"}


@pytest.mark.parametrize("only_real", [False, True])
@pytest.mark.parametrize("config", [TINY, TWO_HOT])
def test_what_is_no_label_has_no_gradient(config: WorldModelConfig, only_real: bool):
    """The first segment is padded on both sides, the second on the right."""
    config = config.model_copy(update={"real_transitions_only": only_real})
    _, _, tokens, rewards, ends = batch()
    mask = torch.tensor([[False, True, True, False], [True, False, False, False]])
    predictions = zeros(config)
    terms, _ = gpt_loss(predictions, tokens, rewards, ends, mask, config)
    torch.stack([term.value for term in terms.values()]).sum().backward()
    learnt = [each.grad.flatten(2).any(dim=2).tolist() for each in predictions if each.grad is not None]
    from_real = [[False, True, True], [True, False, False]]
    between_real = [[False, True, False], [False, False, False]]
    assert learnt == [between_real if only_real else from_real, mask.tolist(), mask.tolist()]
    assert terms["tokens"].count.item() == K * (1 if only_real else 3)
    assert terms["rewards"].count.item() == terms["ends"].count.item() == 3


def test_what_padding_holds_changes_no_loss(gpt: Gpt):
    """Padded on the right; the tokens of the last real step's transition are labels."""
    frames, actions, tokens, rewards, ends = batch()
    mask = torch.arange(T).expand(B, T) < 2
    terms, metrics = gpt_loss(gpt(frames, actions, tokens), tokens, rewards, ends, mask, TINY)
    frames[:, 2:], actions[:, 2:], tokens[:, 2:], rewards[:, 2:], ends[:, 2:] = 0.0, 0, 0, 7.0, True
    other, other_metrics = gpt_loss(gpt(frames, actions, tokens), tokens, rewards, ends, mask, TINY)
    for name, term in terms.items():
        torch.testing.assert_close(term.value, other[name].value)
    torch.testing.assert_close(metrics, other_metrics)


def test_every_weight_learns_also_in_bfloat16_and_losses_are_float32(gpt: Gpt):
    frames, actions, tokens, rewards, ends = batch()
    with NoReadBack(), autocast(torch.device("cpu"), "bfloat16"):
        predictions = gpt(frames, actions, tokens)
        terms, _ = gpt_loss(predictions, tokens, rewards, ends, ALL, TINY)
    assert {each.dtype for each in predictions} == {torch.float32}
    torch.stack([term.value for term in terms.values()]).sum().backward()
    gradients = {name: each.grad for name, each in gpt.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
