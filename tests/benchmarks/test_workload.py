"""What the flags of a benchmark make of a preset."""

from __future__ import annotations

import pytest
import torch

from benchmarks.synthetic import synthetic_learner
from benchmarks.workload import Workload
from learners.config import LearnerConfig
from pipeline.presets import preset
from tests.benchmarks.workloads import parse_workload
from tests.learners.fakes import iris_of

DEBUG = preset("debug")


def test_without_flags_the_preset_is_measured_as_it_is():
    assert parse_workload().config == DEBUG


def test_a_flag_changes_what_it_names_and_nothing_else():
    changed = parse_workload("--world-model-batch 7 --precision bfloat16 --perceptual vgg16").config
    assert {name: training.batch_size for name, training in changed.trainings.items()} == {
        "tokenizer": 4,
        "world_model": 7,
        "actor_critic": 4,
    }
    assert changed.learner.precision == "bfloat16"
    assert iris_of(changed).tokenizer.perceptual == "vgg16"
    assert parse_workload("--world-model-batch 4 --precision float32 --perceptual none").config == DEBUG


def test_as_published_is_float32_contiguous_and_without_cuda_graph():
    workload = parse_workload("--as-published")
    assert workload.config.learner == LearnerConfig(precision="float32", cuda_graph=False)
    assert _convolution_strides(workload) == (27, 9, 3, 1)  # of 3 input channels, 3×3; on a CPU always


def test_as_published_refuses_another_precision(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parse_workload("--as-published --precision bfloat16")
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_perceptual_loss_is_measured_without_a_file_of_weights():
    learner = synthetic_learner(parse_workload("--perceptual vgg16"), num_steps=10)
    assert learner.train("tokenizer", 1, range(1))["loss/perceptual"] > 0


def _convolution_strides(workload: Workload) -> tuple[int, ...]:
    learner = synthetic_learner(workload, num_steps=10)
    modules = learner.parts["tokenizer"].module.modules()
    return next(module for module in modules if isinstance(module, torch.nn.Conv2d)).weight.stride()
