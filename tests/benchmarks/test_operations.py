"""What a call computes, counted and worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks.operations import count, step_operations
from benchmarks.synthetic import settle, synthetic_learner
from learners.iris.iris import Iris
from learners.part import to_unit
from pipeline.presets import preset
from tests.benchmarks.workloads import parse_workload
from tests.learners.fakes import iris_of

DEBUG = preset("debug")


def test_a_matrix_product_is_two_operations_per_multiplied_pair_and_one_kernel():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert count(lambda: a @ b) == (2 * 3 * 5 * 7, 1)


def test_views_and_allocations_are_no_kernels():
    a = torch.ones(4, 6)
    assert count(lambda: a.T.reshape(3, 8)[1:].unsqueeze(0)) == (0, 1)  # the reshape of a transposed matrix copies
    assert count(lambda: (a.view(6, 4).unbind(1), a.expand(2, 4, 6).detach(), torch.empty(3), a.new_empty(2))) == (0, 0)


def test_attention_on_a_cpu_is_two_products_forward_and_five_backward():
    query, key, value = (torch.ones(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    product = 2 * (2 * 3) * 5 * 4 * 5  # B·heads matrices of T×hs times hs×T

    def backward() -> None:
        F.scaled_dot_product_attention(query, key, value).sum().backward()

    assert count(lambda: F.scaled_dot_product_attention(query, key, value)).flops == 2 * product
    assert count(backward).flops == (2 + 5) * product  # one of the five computes the attention again


@pytest.mark.parametrize("part", ["tokenizer", "world_model", "actor_critic"])
def test_a_settled_part_computes_the_same_in_every_step(part: str):
    workload = parse_workload()
    learner = synthetic_learner(workload, num_steps=40)
    settle(workload, learner, part)
    steps = [count(lambda step=step: learner.train(part, 1, range(step, step + 1))) for step in range(3)]
    assert steps == 3 * [step_operations(workload, [part])[part]]


def test_as_published_a_step_of_the_world_model_encodes_its_frames_anew():
    kept, anew = (step_operations(parse_workload(line), ["world_model"]) for line in ("", "--as-published"))
    world_model = Iris(iris_of(DEBUG), 6)
    one_frame = count(lambda: world_model.tokenizer.encode(to_unit(torch.zeros(1, 3, 64, 64)))).flops
    encoded, rest = divmod(anew["world_model"].flops - kept["world_model"].flops, one_frame)
    assert rest == 0
    transformer = iris_of(DEBUG).world_model
    assert 1 < encoded <= transformer.training.batch_size * transformer.max_blocks
