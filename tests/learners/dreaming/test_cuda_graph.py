"""The recorded rollout against the plain one."""

import warnings

import pytest
import torch
from torch import Tensor

from learners.dreaming.actor_critic import pooling_actor_critic
from learners.dreaming.cuda_graph import CudaGraph
from learners.dreaming.imagination import imagine, recorded_imagination
from learners.iris.iris import Iris
from learners.nn.sampling import uniforms
from learners.part import Segments
from tests.learners.fakes import NUM_ACTIONS, TINY_ACTOR_CRITIC, TINY_IRIS


def test_what_cannot_be_recorded_runs_as_it_is_after_one_warning():
    doubled = CudaGraph(lambda x: x * 2)
    with pytest.warns(
        UserWarning, match="not recorded as a CUDA graph, slower from here on: torch.cuda.Stream requires CUDA"
    ):
        assert doubled(torch.ones(2)).tolist() == [2.0, 2.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert doubled(torch.full((2,), 3.0)).tolist() == [6.0, 6.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@torch.no_grad()
def test_a_recorded_rollout_equals_the_plain_one_and_waits_for_nothing():
    device = torch.device("cuda")
    torch.manual_seed(0)
    world_model = Iris(TINY_IRIS, NUM_ACTIONS)
    actor_critic = pooling_actor_critic(TINY_ACTOR_CRITIC, world_model.feature_shape, NUM_ACTIONS).to(device)
    for module in (world_model.tokenizer, world_model.gpt):
        module.to(device).eval()
    recorded = recorded_imagination(world_model, actor_critic)
    for seed in range(3):
        generator = torch.Generator(device).manual_seed(seed)
        start = _context(generator)
        noise = uniforms((7, 4, 1 + world_model.noise_per_step), generator)
        expected = imagine(world_model, actor_critic, start, noise)
        torch.cuda.set_sync_debug_mode("error" if seed else "default")  # the first call records
        found = recorded(start, noise)
        torch.cuda.set_sync_debug_mode("default")
        for one, other in zip((*found[:4], *found.state), (*expected[:4], *expected.state), strict=True):
            torch.testing.assert_close(one, other)
        for parameter in actor_critic.parameters():  # a graph reads the weights of now
            parameter.mul_(1.1)


def _context(generator: torch.Generator) -> Segments:
    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device)

    tokens = (draw(4, 3, TINY_IRIS.tokenizer.tokens_per_frame) * TINY_IRIS.tokenizer.vocab_size).long()
    columns = {"tokens": tokens, "reconstructions": draw(4, 3, 3, 64, 64)}
    return Segments(draw(4, 3).long(), draw(4, 3), draw(4, 3) > 0.9, draw(4, 3) > 0.1, columns)
