"""Legend: B batch, T time, H imagined transitions, A = 3 actions."""

import torch

from learners.dreaming.actor_critic import ActorCritic, pooling_actor_critic
from learners.dreaming.config import ActorCriticConfig
from learners.learner import count_parameters
from tests.learners.fakes import FEATURE_SHAPE


def test_the_papers_actor_critic_has_the_papers_parameters():
    assert count_parameters(pooling_actor_critic(ActorCriticConfig(), FEATURE_SHAPE, 6)) == 3_218_983


@torch.no_grad()
def test_one_unrolled_pass_equals_single_steps(actor_critic: ActorCritic):
    features = torch.rand(2, 5, *FEATURE_SHAPE)
    logits, values = actor_critic.unroll(features, actor_critic.initial_state(2))
    state = actor_critic.initial_state(2)
    for t in range(5):
        step_logits, step_values, state = actor_critic(features[:, t], state)
        torch.testing.assert_close(logits[:, t], step_logits)
        torch.testing.assert_close(values[:, t], step_values)


def test_padded_burn_in_frames_are_skipped(actor_critic: ActorCritic):
    features = torch.rand(2, 4, *FEATURE_SHAPE)
    mask = torch.tensor([[False, False, True, True], [True, True, True, True]])
    padded = actor_critic.burn_in(features, mask)
    short = actor_critic.burn_in(features[:1, 2:], mask[:1, 2:])
    for whole, part in zip(padded, short, strict=True):
        torch.testing.assert_close(whole[:1], part)


def test_without_real_frames_the_state_stays_zero(actor_critic: ActorCritic):
    hidden, cell = actor_critic.burn_in(torch.rand(1, 3, *FEATURE_SHAPE), torch.zeros(1, 3, dtype=torch.bool))
    assert not hidden.any()
    assert not cell.any()


def test_the_network_of_iris_sees_frames_on_minus_one_to_one_and_its_names_are_those_of_stored_runs():
    torch.manual_seed(0)
    actor_critic, seen = pooling_actor_critic(ActorCriticConfig(), FEATURE_SHAPE, 6), []
    actor_critic.cnn[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))  # type: ignore[index]
    frames = torch.rand(2, *FEATURE_SHAPE)
    actor_critic.embed(frames)
    assert torch.equal(seen[0], frames * 2.0 - 1.0)
    layers = [f"cnn.{index}" for index in (1, 4, 7, 10)]
    of_lstm = [f"lstm.{kind}_{half}" for kind in ("weight", "bias") for half in ("ih", "hh")]
    assert set(actor_critic.state_dict()) == {
        *of_lstm,
        *(f"{layer}.{kind}" for layer in (*layers, "policy", "value") for kind in ("weight", "bias")),
    }
