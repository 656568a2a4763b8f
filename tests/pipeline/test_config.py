"""What a configuration is: strict, frozen, JSON and back, the paper's numbers, its identity."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from actors.config import AtariConfig, CatchConfig, CollectionConfig
from cluster.config import ClusterConfig
from learners.dreaming.config import ActorCriticConfig
from learners.iris.config import IrisConfig
from learners.jepa.config import JepaConfig
from pipeline.config import RunConfig
from pipeline.presets import PRESETS
from pipeline.presets import preset as named

DEBUG = named("debug")
IRIS_ATARI100K = named("iris-atari100k")

ROOT = Path(__file__).resolve().parents[2]

# Micheli, Alonso, Fleuret (2023), appendix A: written out by hand, not read from the code.
PAPER: dict[str, Any] = {
    "seed": 0,
    "schedule": "synchronous",
    "iterations": 600,
    "env": {
        "kind": "atari",
        "game": "Pong",
        "frame_skip": 4,
        "max_noops": 30,
        "max_frames": 20_000,
        "evaluation_max_frames": 108_000,
        "ends_on_life_loss": True,
        "channels": "colours",
    },
    "algorithm": {
        "kind": "iris",
        "tokenizer": {
            "vocab_size": 512,
            "codeword_size": 512,
            "grid_size": 4,
            "width": 64,
            "residual_blocks": 2,
            "attention_resolutions": (8, 16),
            "norm_groups": 32,
            "patch_size": 1,
            "revive_after": 0,
            "quantization_weight": 1.0,
            "reconstruction": "l1",
            "ready_below": 0.0,
            "perceptual": "vgg16",
            "perceptual_dropout": 0.5,
            "training": {
                "starts_after": 5,
                "batch_size": 256,
                "steps_per_iteration": 200,
                "first_steps": 0,
                "learning_rate": 1e-4,
                "weight_decay": 0.0,
                "max_gradient_norm": 10.0,
            },
        },
        "world_model": {
            "layers": 10,
            "heads": 4,
            "embedding_size": 256,
            "dropout": 0.1,
            "max_blocks": 20,
            "ready_above": 0.0,
            "positions": "joint",
            "initialisation": "gpt2",
            "training": {
                "starts_after": 25,
                "batch_size": 64,
                "steps_per_iteration": 200,
                "first_steps": 0,
                "learning_rate": 1e-4,
                "weight_decay": 0.01,
                "max_gradient_norm": 10.0,
            },
        },
        "actor_critic": {
            "channels": (32, 32, 64, 64),
            "patch_size": 1,
            "lstm_size": 512,
            "burn_in": 20,
            "horizon": 20,
            "discount": 0.995,
            "lambda_": 0.95,
            "entropy_weight": 0.001,
            "learn_after_end": True,
            "training": {
                "starts_after": 50,
                "batch_size": 64,
                "steps_per_iteration": 200,
                "first_steps": 0,
                "learning_rate": 1e-4,
                "weight_decay": 0.0,
                "max_gradient_norm": 10.0,
            },
        },
    },
    "dataset": {"truncation_is_end": True},
    "learner": {"precision": "float32", "tf32": False, "cuda_graph": True, "deterministic": False},
    "collection": {
        "steps_per_iteration": 200,
        "first_steps": 0,
        "last_iteration": 500,
        "num_collectors": 1,
        "envs_per_collector": 1,
        "epsilon": 0.01,
        "temperature": 1.0,
    },
    "evaluation": {
        "every": 5,
        "episodes": 16,
        "final_episodes": 100,
        "envs_per_evaluator": 8,
        "epsilon": 0.0,
        "temperature": 0.5,
    },
}
NOT_OF_THE_PAPER: Any = {
    "preset": True,
    "cluster": True,
    "checkpoint": True,
    "log_every": True,
    "inspect_every": True,
    "collection": {"env_processes"},
    "dataset": {"frames"},
    "evaluation": {"num_evaluators"},
    "algorithm": {"tokenizer": {"perceptual_weights"}},
}


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest) -> RunConfig:
    return PRESETS[request.param][1]


def test_a_preset_survives_json(preset: RunConfig):
    assert RunConfig.model_validate_json(preset.model_dump_json()) == preset


def test_a_preset_knows_its_name():
    assert {name: config.preset for name, (_, config) in PRESETS.items()} == {name: name for name in PRESETS}


def test_no_model_of_a_preset_can_be_written_to(preset: RunConfig):
    for model in _models(preset):
        for field in type(model).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(model, field, getattr(model, field))


def test_no_model_of_a_preset_takes_an_unknown_key(preset: RunConfig):
    for model in _models(preset):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            type(model).model_validate({**model.model_dump(), "sede": 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", "1"), ("seed", 1.0), ("iterations", True), ("log_every", "50"), ("preset", 5), ("seed", None)],
)
def test_a_value_of_another_type_is_refused_rather_than_converted(field: str, value: object):
    with pytest.raises(ValidationError, match=field):
        RunConfig.model_validate({**DEBUG.model_dump(), field: value})


def test_iris_atari100k_has_the_values_of_the_paper():
    assert IRIS_ATARI100K.model_dump(exclude=NOT_OF_THE_PAPER) == PAPER


def test_the_paper_collects_100_000_steps_in_the_first_500_of_600_iterations():
    planned = {iteration: IRIS_ATARI100K.planned_steps(iteration) for iteration in (0, 1, 2, 26, 499, 500, 501, 600)}
    assert planned == {0: 0, 1: 200, 2: 400, 26: 5_200, 499: 99_800, 500: 100_000, 501: 100_000, 600: 100_000}


def test_planned_steps_grow_by_what_an_iteration_collects(preset: RunConfig):
    for iteration in range(1, preset.iterations + 1):
        grown = preset.planned_steps(iteration) - preset.planned_steps(iteration - 1)
        assert grown == preset.collection.steps_in(iteration)


def test_the_first_iteration_may_collect_another_number_of_steps():
    collection = CollectionConfig(steps_per_iteration=5, first_steps=40, last_iteration=3)
    planned = DEBUG.model_copy(update={"collection": collection})
    assert [planned.planned_steps(iteration) for iteration in (1, 2, 3, 4)] == [40, 45, 50, 50]


def test_parts_train_in_the_order_in_which_they_depend_on_each_other(preset: RunConfig):
    jepa = ["world_model", "heads", "decoder"]
    if isinstance(preset.algorithm, JepaConfig):
        beside = ("critic", "reflex", "upper")
        jepa += [name for name in beside if getattr(preset.algorithm, name).kind != "none"]
    expected = jepa if preset.algorithm.kind == "jepa" else ["tokenizer", "world_model", "actor_critic"]
    assert list(preset.trainings) == expected


def test_a_game_is_named_by_its_name_its_id_or_its_kind():
    assert {name: config.game for name, (_, config) in PRESETS.items()} == {
        "iris-atari100k": "Pong",
        "iris-crafter": "crafter",
        "demo": "catch",
        "atari-demo": "UpNDown",
        "atari-small": "Krull",
        "catch": "catch",
        "debug": "catch",
        "debug-atari": "Breakout",
        "gym": "gym",
        "delta-iris-atari100k": "Pong",
        "delta-iris-crafter": "crafter",
        "delta-iris-demo": "UpNDown",
        "delta-iris-atari-small": "Krull",
        "delta-iris-crafter-small": "crafter",
        "delta-iris-catch": "catch",
        "delta-iris-debug": "catch",
        "jepa-small": "rooms",
        "jepa-critic": "rooms",
        "jepa-agent": "rooms",
        "jepa-two-rooms": "rooms",
        "jepa-catch": "catch",
        "jepa-atari": "Pong",
        "jepa-crafter": "crafter",
        "jepa-gym": "gym",
        "jepa-debug": "rooms",
    }


def test_identity_is_everything_but_placement_logging_and_length(preset: RunConfig):
    excluded = _paths(preset.model_dump(mode="json")) - _paths(preset.identity())
    files = {"algorithm.tokenizer.perceptual_weights"} if preset.algorithm.kind == "iris" else set()
    assert excluded == {
        *files,
        "iterations",
        "log_every",
        "inspect_every",
        "checkpoint.every",
        "checkpoint.keep",
        "cluster.acting",
        "cluster.acting_on",
        "cluster.data_parallel",
        "cluster.learners",
        "cluster.device",
        "cluster.gpu_share",
        "cluster.learner_threads",
        "cluster.object_store_mb",
        "learner.cuda_graph",
        "cluster.start_timeout_s",
        "cluster.call_timeout_s",
        "cluster.max_losses",
        "collection.env_processes",
        "dataset.frames",
        "evaluation.num_evaluators",
    }


def test_identity_changes_with_what_is_played():
    other = DEBUG.model_copy(update={"env": CatchConfig(rows=5)})
    assert other.identity() != DEBUG.identity()


@pytest.mark.parametrize(
    "module",
    [*("pipeline.presets", "pipeline.cli", "pipeline.run_dir"), "pipeline.evaluate", "pipeline.report.__main__"],
)
def test_the_command_line_loads_neither_torch_nor_numpy_nor_ray_nor_gymnasium(module: str):
    heavy = "{'torch', 'numpy', 'ray', 'gymnasium'}"
    code = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def _models(model: BaseModel) -> Iterator[BaseModel]:
    yield model
    for field in type(model).model_fields:
        if isinstance(value := getattr(model, field), BaseModel):
            yield from _models(value)


def _paths(tree: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of all leaves."""
    paths = set()
    for key, value in tree.items():
        paths |= _paths(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return paths


def test_the_setting_of_a_part_is_its_flag():
    config = PRESETS["debug"][1]
    paths = {part: config.setting_of(part) for part in config.trainings}
    assert paths == {
        "tokenizer": "algorithm.tokenizer.training",
        "world_model": "algorithm.world_model.training",
        "actor_critic": "algorithm.actor_critic.training",
    }


@pytest.mark.parametrize(("patch_size", "most"), [(1, 6), (2, 5), (4, 4)])
def test_poolings_that_leave_no_pixel_are_refused(patch_size: int, most: int):
    ActorCriticConfig.model_validate({"patch_size": patch_size, "channels": (8,) * most})
    if most < 6:
        with pytest.raises(ValidationError, match=f"found {most + 1} channels, expected {most} at most"):
            ActorCriticConfig.model_validate({"patch_size": patch_size, "channels": (8,) * (most + 1)})


def test_batches_must_be_shared_out_equally():
    def shared_by(ranks: int) -> RunConfig:
        cluster = ClusterConfig(data_parallel=ranks)
        return RunConfig(preset="p", algorithm=IrisConfig(), env=AtariConfig(), cluster=cluster)

    with pytest.raises(ValidationError, match=r"data_parallel: found 3, expected a divisor of .*batch_size, 256"):
        shared_by(3)
    assert shared_by(4).cluster.data_parallel == 4


def test_plans_look_no_farther_than_an_episode_lasts():
    def planned(agent: str, rows: int) -> RunConfig:
        changed = PRESETS["jepa-catch"][1].model_dump()
        changed["algorithm"]["agent"]["kind"], changed["env"]["rows"] = agent, rows
        return RunConfig.model_validate(changed)

    with pytest.raises(ValidationError, match=r"agent.planner: .*: found a plan of 9 steps, expected at most 8, those"):
        planned("planner", 9)
    assert planned("planner", 10).env.longest_episode == 9
    assert planned("policy", 9).env.longest_episode == 8


def test_what_is_learnt_of_training_episodes_is_no_longer_than_they_are():
    def trained_on(steps: int) -> RunConfig:
        changed = PRESETS["jepa-agent"][1].model_dump()
        changed["env"]["training_steps"] = steps
        return RunConfig.model_validate(changed)

    assert trained_on(11).env.longest_training_episode == 11
    with pytest.raises(
        ValidationError, match=r"algorithm\.upper\.steps: found 10, expected less than 10, the steps of"
    ):
        trained_on(10)


def test_idle_codewords_are_revived_by_one_process_only():
    changed = {**PRESETS["demo"][1].model_dump(), "cluster": {"data_parallel": 2}}
    with pytest.raises(ValidationError, match="data_parallel: found 2, expected 1 with revive_after"):
        RunConfig.model_validate(changed)
