import torch

from learners.dreaming.actor_critic import ActorCritic
from learners.dreaming.imagination import target_values
from learners.dreaming.target import WithTarget
from tests.learners.fakes import FEATURE_SHAPE

TAKEN, NOT_TAKEN = torch.tensor(True), torch.tensor(False)


def test_a_target_starts_as_the_network_and_follows_it_slowly(actor_critic: ActorCritic):
    networks = WithTarget(actor_critic, rate=0.25)
    before = [parameter.clone() for parameter in networks.target.parameters()]
    for parameter in networks.online.parameters():
        parameter.data.add_(1.0)
    networks.follow(NOT_TAKEN, {})
    assert all(torch.equal(slow, old) for slow, old in zip(networks.target.parameters(), before, strict=True))
    networks.follow(TAKEN, {})
    for slow, old, fast in zip(networks.target.parameters(), before, networks.online.parameters(), strict=True):
        torch.testing.assert_close(slow, 0.75 * old + 0.25 * fast)
        assert not slow.requires_grad
        assert fast.requires_grad


def test_target_values_go_on_from_the_targets_own_memory_of_the_context(actor_critic: ActorCritic):
    networks = WithTarget(actor_critic, rate=0.25)
    features, mask = torch.rand(2, 7, *FEATURE_SHAPE), torch.ones(2, 3, dtype=torch.bool)
    for parameter in networks.online.parameters():
        parameter.data.mul_(3.0)  # what it would remember is not asked for
    whole = networks.target.unroll(features, networks.target.initial_state(2))[1]
    found = target_values(networks.target, features[:, :3], mask, features[:, 2:])
    torch.testing.assert_close(found, whole[:, 2:])
    assert not found.requires_grad
