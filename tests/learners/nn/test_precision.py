"""What bfloat16 changes in a gradient step, and what it must not."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from learners.action_space import Discrete
from learners.config import DatasetConfig, LearnerConfig
from learners.dreaming.actor_critic import pooling_actor_critic
from learners.learner import Learner
from learners.nn.convolution import group_norm
from learners.nn.precision import autocast, full_precision
from tests.learners.fakes import TINY_AGENT, TINY_IRIS, make_chunk

CPU = torch.device("cpu")
PARTS = ("tokenizer", "world_model", "actor_critic")


def learner(precision: str) -> Learner:
    config = LearnerConfig.model_validate({"precision": precision})
    learner = Learner(TINY_AGENT, DatasetConfig(), config, seed=0, device="cpu")
    learner.extend([make_chunk([5, 9, 4])])
    return learner


@pytest.mark.parametrize("part", PARTS)
def test_a_step_in_bfloat16_is_close_to_one_in_float32_but_another(part: str):
    half, single = learner("bfloat16").train(part, 1, range(1)), learner("float32").train(part, 1, range(1))
    assert half != single
    assert half["loss"] == pytest.approx(single["loss"], rel=0.02, abs=0.02)
    assert half["gradient_norm"] == pytest.approx(single["gradient_norm"], rel=0.2)


@pytest.mark.parametrize("part", PARTS)
def test_every_weight_learns_in_bfloat16_and_stays_float32(part: str):
    trained = learner("bfloat16")
    parameters = dict(trained.parts[part].module.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    trained.train(part, 1, range(2))
    assert all(parameter.dtype == torch.float32 for parameter in parameters.values())
    assert [name for name, parameter in parameters.items() if torch.equal(parameter, before[name])] == []


def test_matrix_products_are_bfloat16_inside_and_float32_in_full_precision():
    x = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(CPU):
            assert (x @ x).dtype == torch.float32
    with autocast(CPU, "float32"):
        assert (x @ x).dtype == torch.float32


class Types(TorchDispatchMode):
    """Remembers the type of the first argument of every call of an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], torch.Tensor):
            self.seen.setdefault(function.overloadpacket.__name__, set()).add(args[0].dtype)
        return function(*args, **(kwargs or {}))


def test_a_step_normalises_in_float32_and_convolves_in_bfloat16():
    trained = learner("bfloat16")
    with Types() as types:
        trained.train("tokenizer", 1, range(1))
    assert types.seen["native_group_norm"] == types.seen["native_group_norm_backward"] == {torch.float32}
    assert types.seen["convolution"] == types.seen["convolution_backward"] == {torch.bfloat16}


def test_group_norm_returns_the_type_it_was_given():
    assert group_norm(8, 4)(torch.randn(2, 8, 4, 4).bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
def test_the_policy_computes_in_float32_whatever_surrounds_it():
    torch.manual_seed(0)
    actor_critic = pooling_actor_critic(TINY_IRIS.actor_critic, (3, 64, 64), 3)
    features, mask = torch.rand(2, 3, 3, 64, 64), torch.ones(2, 3, dtype=torch.bool)

    def everything() -> list[torch.Tensor]:
        state = actor_critic.burn_in(features, mask)
        logits, values, after = actor_critic(features[:, 0], state)
        return [*state, logits, values, *after, *actor_critic.unroll(features, state)]

    expected = everything()
    with autocast(CPU, "bfloat16"):
        found = everything()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@torch.no_grad()
def test_losses_are_computed_from_float32_and_the_nearest_codeword_is_exact():
    torch.manual_seed(0)
    world_model = TINY_IRIS.build(Discrete(3))
    latents = torch.randn(500, 4, TINY_IRIS.tokenizer.codeword_size)
    expected = world_model.tokenizer.quantizer.nearest(latents)
    with autocast(CPU, "bfloat16"):
        predictions = world_model.gpt(torch.zeros(2, 3, 4, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long))
        encoded, reconstructions = world_model.tokenizer(torch.rand(2, 3, 64, 64))
        found = world_model.tokenizer.quantizer.nearest(latents)
    assert {tensor.dtype for tensor in (*predictions, encoded.latents, reconstructions)} == {torch.float32}
    assert torch.equal(found, expected)
