import pytest
import torch

from learners.algorithm import AgentConfig
from learners.dreaming.actor_critic import ActorCritic, pooling_actor_critic
from tests.learners.fakes import FEATURE_SHAPE, NUM_ACTIONS, TINY_ACTOR_CRITIC, TINY_AGENTS

# Tests compute on tensors of a few kilobytes: a second thread costs more than it computes, and far more than that
# beside another busy process.
torch.set_num_threads(1)


@pytest.fixture
def actor_critic() -> ActorCritic:
    torch.manual_seed(0)
    return pooling_actor_critic(TINY_ACTOR_CRITIC, FEATURE_SHAPE, NUM_ACTIONS)


@pytest.fixture(params=TINY_AGENTS)
def agent(request: pytest.FixtureRequest) -> AgentConfig:
    """Of each algorithm in turn."""
    return TINY_AGENTS[request.param]
