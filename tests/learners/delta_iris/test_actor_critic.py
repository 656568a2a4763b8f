import pytest
import torch
from torch import nn

from learners.delta_iris.actor_critic import residual_actor_critic
from learners.delta_iris.config import DeltaIrisConfig
from learners.delta_iris.presets import CRAFTER
from learners.learner import count_parameters
from tests.learners.fakes import NUM_ACTIONS, TINY_DELTA_IRIS

ATARI = DeltaIrisConfig()

TINY = TINY_DELTA_IRIS.actor_critic
TWO_HOT = TINY.model_copy(update={"values": "two_hot", "value_buckets": 5})


@pytest.mark.parametrize(("config", "num_actions", "count"), [(ATARI, 6, 3_609_271), (CRAFTER, 17, 3_745_216)])
def test_the_papers_actor_critic_has_the_papers_parameters(config: DeltaIrisConfig, num_actions: int, count: int):
    with torch.device("meta"):
        assert count_parameters(residual_actor_critic(config.actor_critic, num_actions)) == count


@torch.no_grad()
def test_every_state_is_first_worth_nothing():
    torch.manual_seed(0)
    for config in (TINY, TWO_HOT):
        actor_critic = residual_actor_critic(config, NUM_ACTIONS)
        logits, outputs, _ = actor_critic(torch.rand(3, 3, 64, 64), actor_critic.initial_state(3))
        assert not outputs.any()
        torch.testing.assert_close(actor_critic.value.mean(outputs), torch.zeros(3))
        assert logits.any()


@torch.no_grad()
def test_one_unrolled_pass_of_a_two_hot_value_equals_single_steps():
    torch.manual_seed(0)
    actor_critic = residual_actor_critic(TWO_HOT, NUM_ACTIONS)
    nn.init.normal_(actor_critic.value.weight)
    frames = torch.rand(2, 4, 3, 64, 64)
    logits, outputs = actor_critic.unroll(frames, actor_critic.initial_state(2))
    assert outputs.shape == (2, 4, 5)
    state = actor_critic.initial_state(2)
    for t in range(4):
        step_logits, step_outputs, state = actor_critic(frames[:, t], state)
        torch.testing.assert_close(logits[:, t], step_logits)
        torch.testing.assert_close(outputs[:, t], step_outputs)


def test_frames_are_seen_as_they_are():
    actor_critic, seen = residual_actor_critic(TINY, NUM_ACTIONS), []
    actor_critic.cnn.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    frames = torch.rand(2, 3, 64, 64)
    actor_critic.embed(frames)
    assert torch.equal(seen[0], frames)
