"""The learner as a whole, and the contract every algorithm behind the seam keeps."""

import gc
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from learners.action_space import Discrete
from learners.algorithm import Agent, AgentConfig
from learners.config import DatasetConfig, LearnerConfig
from learners.dataset import Dataset
from learners.errors import RecoverableError
from learners.experience import Chunk
from learners.learner import Learner
from learners.memory import BatchTooLargeError, ExperienceTooLargeError, peak_bytes
from learners.part import Losses, Mean, Segments, adam_w
from learners.part_trainer import DivergedError, PartTrainer
from pipeline.presets import PRESETS
from tests.learners.fakes import PARTS_OF_ALL, TINY_AGENT, drawn_from, make_chunk

SMALL_PRESETS = [name for name in PRESETS if not name.endswith(("atari100k", "crafter", "two-rooms"))]
CPU = torch.device("cpu")


def learner(agent: AgentConfig, seed: int = 0) -> Learner:
    learner = Learner(agent, DatasetConfig(), LearnerConfig(), seed=seed, device="cpu")
    learner.extend([make_chunk([5, 9, 4])])
    return learner


def train_all(learner: Learner, iteration: int, steps: range = range(3)) -> dict[str, dict[str, float]]:
    return {part: learner.train(part, iteration, steps) for part in learner.parts}


def test_two_learners_of_one_seed_agree_bit_for_bit_and_another_seed_does_not(agent: AgentConfig):
    assert train_all(learner(agent), 1) == train_all(learner(agent), 1)
    assert train_all(learner(agent), 1) != train_all(learner(agent, seed=1), 1)


def test_slices_change_no_draw(agent: AgentConfig):
    whole, sliced = learner(agent), learner(agent)
    for part in whole.parts:
        whole.train(part, 1, range(4))
        sliced.train(part, 1, range(1))
        sliced.train(part, 1, range(1, 4))
    assert np.array_equal(whole.weights(), sliced.weights())


def test_a_restored_learner_goes_on_exactly_like_the_one_that_saved(agent: AgentConfig, tmp_path: Path):
    first = learner(agent)
    train_all(first, 1)
    hashes = first.save(str(tmp_path))
    assert sorted(hashes) == sorted(f"{part}.safetensors" for part in first.parts)
    second = learner(agent, seed=0)
    second.load(str(tmp_path))
    assert train_all(second, 2) == train_all(first, 2)
    assert np.array_equal(first.weights(), second.weights())


def test_a_deterministic_learner_takes_the_same_steps_and_refuses_what_would_vary(agent: AgentConfig):
    try:
        strict = Learner(agent, DatasetConfig(), LearnerConfig(deterministic=True), seed=0, device="cpu")
        strict.extend([make_chunk([5, 9, 4])])
        assert torch.are_deterministic_algorithms_enabled()
        reports = train_all(strict, 1)
    finally:
        torch.use_deterministic_algorithms(False)
    assert reports == train_all(learner(agent), 1)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("preset", SMALL_PRESETS)
def test_what_is_derived_does_not_depend_on_which_rows_are_asked_for_when(preset: str):
    """Or a resumed run, which asks in another order, would differ in last bits."""
    config = PRESETS[preset][1]
    agent = AgentConfig(config.algorithm, Discrete(3))
    at_once, bit_by_bit = (Learner(agent, DatasetConfig(), LearnerConfig(), seed=0, device="cpu") for _ in range(2))
    columns = ("frames", *at_once.algorithm.derived)
    chunk = make_chunk([50, 60])
    noise = np.random.default_rng(0).integers(256, size=chunk.frames.shape, dtype=np.uint8)
    for each in (at_once, bit_by_bit):
        each.extend([replace(chunk, frames=noise)])
    at_once.dataset.fill(columns)
    for seed in range(5):
        drawn_from(bit_by_bit.dataset, 3, 2, "start", columns, np.random.default_rng(100 + seed))
    drawn = [
        drawn_from(each.dataset, 40, 3, "end", columns, np.random.default_rng(0)) for each in (at_once, bit_by_bit)
    ]
    for name in columns:
        assert torch.equal(drawn[0].columns[name], drawn[1].columns[name])


def test_a_save_of_an_untrained_learner_can_be_loaded(agent: AgentConfig, tmp_path: Path):
    first, second = learner(agent), learner(agent)
    first.save(str(tmp_path))
    second.load(str(tmp_path))
    assert train_all(first, 1) == train_all(second, 1)


def test_weights_of_another_network_are_refused(agent: AgentConfig, tmp_path: Path):
    first = learner(agent)
    first.save(str(tmp_path))
    last = list(first.parts)[-1]
    settings = getattr(agent.algorithm, last)
    size = next(name for name in ("lstm_size", "hidden") if hasattr(settings, name))
    wider = agent.algorithm.model_copy(update={last: settings.model_copy(update={size: 9})})
    other = learner(AgentConfig(wider, agent.action_space))
    with pytest.raises(ValueError, match=f"{last}: weights of another network, first difference at weights"):
        other.load(str(tmp_path))


def test_each_part_trains_alone(agent: AgentConfig):
    trained = learner(agent)
    for part in trained.parts:
        before = {name: _flat(trained, name) for name in trained.parts}
        trained.train(part, 1, range(1))
        changed = [name for name in trained.parts if not np.array_equal(before[name], _flat(trained, name))]
        assert changed == [part]


def test_training_leaves_every_module_in_evaluation_mode(agent: AgentConfig):
    trained = learner(agent)
    train_all(trained, 1)
    assert not any(trainer.part.module.training for trainer in trained._trainers.values())


def test_published_weights_give_an_agent_the_learners_networks(agent: AgentConfig):
    trained = learner(agent)
    train_all(trained, 1)
    torch.manual_seed(99)  # the agent starts from other weights
    acting = Agent(agent, CPU)
    acting.load(trained.weights())
    for name, module in trained.algorithm.acting_modules().items():
        for found, expected in zip(acting._modules[name].parameters(), module.parameters(), strict=True):
            assert torch.equal(found, expected)


def test_weights_of_the_wrong_size_are_refused(agent: AgentConfig):
    with pytest.raises(ValueError, match=r"weights of another network: expected \d+ bytes, found 7"):
        Agent(agent, CPU).load(np.zeros(7, dtype=np.uint8))


@pytest.mark.parametrize(("agent", "part"), PARTS_OF_ALL, indirect=["agent"])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_stops_before_the_update(agent: AgentConfig, part: str, where: str, tmp_path: Path):
    """The third of six steps breaks: the learner is as after two, and what it saves is loaded again."""
    undisturbed, broken, other = learner(agent), learner(agent), learner(agent)
    for each in (undisturbed, broken, other):
        each.train(part, 4, range(2))
    _break_step(broken, part, step=2, where=where)
    batch = other.dataset.names(other._draw(other.parts[part], 4, 2))
    term = "loss" if where == "loss" else "gradient_norm"
    message = f"{part}: {term} is nan in gradient step 2 of iteration 4; its batch (episode:first step-last step): "
    with pytest.raises(DivergedError, match=re.escape(message + ", ".join(batch)) + "$"):
        broken.train(part, 4, range(2, 6))
    assert np.array_equal(_flat(broken, part), _flat(undisturbed, part))
    broken.save(str(tmp_path))
    restored = learner(agent)
    restored.load(str(tmp_path))
    assert restored._trainers[part].updates == 2
    assert restored.train(part, 4, range(2, 6)) == undisturbed.train(part, 4, range(2, 6))


def test_a_learner_for_each_part_computes_what_one_for_all_does(agent: AgentConfig, tmp_path: Path):
    """Over two iterations, so that what was derived from a part before it moved on must be forgotten."""
    whole = learner(agent)
    parts = list(whole.parts)
    split = {part: learner(agent) for part in parts}
    for iteration in (1, 2):
        for index, part in enumerate(parts):
            assert split[part].train(part, iteration, range(2)) == whole.train(part, iteration, range(2))
            for later in parts[index + 1 :]:
                split[later].adopt(part, split[part].copy_of(part))
    assert np.array_equal(whole.weights(), split[parts[-1]].weights())
    expected, found = whole.save(str(tmp_path)), {}
    for part in parts:
        (tmp_path / part).mkdir()
        found |= split[part].save(str(tmp_path / part), [part])
    assert found == expected


def _break_step(learner: Learner, part: str, *, step: int, where: str) -> None:
    """Makes the loss of a gradient step nan, or only its gradient; the steps after it are whole again."""
    trainer = learner._trainers[part]
    whole, calls = trainer.part.loss, itertools.count(step)

    def loss(segments: Segments, noise: torch.Tensor) -> Losses:
        losses = whole(segments, noise)
        if next(calls) != step:
            return losses
        name, value = next(iter(losses.terms.items()))
        assert isinstance(value, Mean)
        zero = _total(losses) * 0.0
        wrong = torch.nan if where == "loss" else zero.abs().sqrt()  # its derivative at 0 is inf · 0
        return losses._replace(terms={**losses.terms, name: replace(value, total=value.total + wrong)})

    trainer.part = replace(trainer.part, loss=loss)


def _total(losses: Losses) -> torch.Tensor:
    return torch.stack([term.value for term in losses.terms.values()]).sum()


def test_only_linear_weights_decay(agent: AgentConfig):
    trainer = learner(agent)._trainers["world_model"]
    decayed, others = adam_w(trainer.part.module, trainer.part.training).param_groups
    names = {id(parameter): name for name, parameter in trainer.part.module.named_parameters()}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert all(names[id(parameter)].endswith("weight") for parameter in decayed["params"])
    exempt = {names[id(parameter)] for parameter in others["params"]}
    if agent.algorithm.kind == "jepa":  # a convolution and a normalisation; and a linear layer
        expected, linear = {"encoder.layers.0.weight", "predictor.norm.weight"}, "predictor.change.0.weight"
    else:
        expected = {"token_embedding.weight", "position_embedding.weight", "transformer.norm.weight"}
        linear = "transformer.blocks.0.mlp.0.weight"
    assert expected <= exempt
    assert linear not in exempt


@pytest.fixture(params=SMALL_PRESETS)
def make_parts(request: pytest.FixtureRequest) -> Callable[[bool], tuple[dict[str, PartTrainer], Dataset]]:
    config = PRESETS[request.param][1]

    def make(cache: bool) -> tuple[dict[str, PartTrainer], Dataset]:
        torch.manual_seed(0)
        algorithm = AgentConfig(config.algorithm, Discrete(3)).build()
        parts = algorithm.parts
        trainers = {part.name: PartTrainer(part) for part in parts}
        dataset = Dataset(
            DatasetConfig(),
            CPU,
            Discrete(3),
            algorithm.derived,
            lambda part: trainers[part].updates,
            cache=cache,
        )
        dataset.extend(make_chunk([5, 9, 4]))
        for part in parts:
            part.module.eval()
        return trainers, dataset

    return make


def _loss(trainer: PartTrainer, dataset: Dataset, seed: int) -> torch.Tensor:
    part = trainer.part
    rng = np.random.default_rng(seed)
    segments = dataset.gather(dataset.draw(part.drawing, 4, rng, iteration=1), part.columns)
    losses = part.loss(segments, part.draw_noise(4, torch.Generator().manual_seed(seed)))
    loss = _total(losses)
    assert torch.isfinite(loss)
    trainer.step(losses)
    return loss.detach()


@pytest.mark.parametrize("part", [0, 1])
def test_on_one_batch_the_loss_falls(make_parts: Callable, part: int):
    """Of the parts whose loss is no matter of what they do."""
    trainers, dataset = make_parts(True)
    trainer = list(trainers.values())[part]
    losses = [_loss(trainer, dataset, seed=0) for _ in range(12)]
    assert losses[-1] < losses[0]


def test_cached_and_uncached_losses_agree(make_parts: Callable):
    (cached, first), (uncached, second) = make_parts(True), make_parts(False)
    for seed in range(2):
        for name in cached:
            torch.testing.assert_close(_loss(cached[name], first, seed), _loss(uncached[name], second, seed))


def _flat(learner: Learner, part: str) -> np.ndarray:
    parameters = learner._trainers[part].part.module.parameters()
    return torch.cat([parameter.detach().flatten() for parameter in parameters]).numpy()


@pytest.mark.parametrize(
    "allocate", [lambda: torch.empty(2**55), lambda: _raise(torch.OutOfMemoryError("CUDA out of memory"))]
)
def test_a_batch_that_does_not_fit_names_its_size_and_a_smaller_one(agent: AgentConfig, allocate: Callable[[], object]):
    trained = learner(agent)
    first = next(iter(trained.parts))
    trainer = trained._trainers[first]
    trainer.part = replace(trainer.part, loss=lambda *_: allocate())  # type: ignore[arg-type]
    with pytest.raises(
        BatchTooLargeError, match=r"a batch of 4 does not fit into the \d+ GiB of cpu: expected 2 or less"
    ):
        trained.train(first, 1, range(1))


def test_a_batch_of_one_that_does_not_fit_is_not_told_to_become_none(agent: AgentConfig):
    trained = learner(agent)
    first = next(iter(trained.parts))
    trainer = trained._trainers[first]
    training = trainer.part.training.model_copy(update={"batch_size": 1})
    trainer.part = replace(trainer.part, training=training, loss=lambda *_: _raise(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(BatchTooLargeError, match=r"a batch of 1 does not fit .* expected smaller networks"):
        trained.train(first, 1, range(1))


class NoMemoryFor(TorchFunctionMode):
    """A device that has no memory left for what a function returns."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        if func.__name__ == self._name and (self._name != "new_zeros" or args[1][0] > 1):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("call", "size"),
    [
        (lambda learner: learner.extend([make_chunk([1100], first_episode=9, iteration=2)]), 12_301),  # frames grow
        (lambda learner: learner.train("world_model", 1, range(1)), 12_301 + 4 * 8 + 8),  # tokens come into being
        (lambda learner: learner.inspect(1), 12_301 + 4 * 8 + 8),  # and in an inspection
    ],
)
def test_experience_that_does_not_fit_names_its_steps_and_their_size(call: Callable[[Learner], object], size: int):
    found = (
        rf"experience of 18 steps, {size:,} bytes each and room for as many again, does not fit into the \d+ GiB of cpu"
    )
    trained = learner(TINY_AGENT)
    with NoMemoryFor("new_zeros"), pytest.raises(ExperienceTooLargeError, match=rf"^{found}: expected fewer steps or"):
        call(trained)


def test_rows_are_a_power_of_two_with_one_for_padding_and_the_largest_column_is_there_twice_while_it_doubles():
    assert peak_bytes(3000, [12_288, 8, 4, 1]) == 4096 * 12_301 + 2048 * 12_288
    assert peak_bytes(3000, [12_288, 13, 49_160]) == 4096 * 61_461 + 2048 * 49_160
    rows = [peak_bytes(steps, [2]) // 3 for steps in (0, 1023, 1024, 2047, 2048)]
    assert rows == [1024, 1024, 2048, 2048, 4096]


def test_a_dataset_has_allocated_what_is_said_of_it():
    """Each of `step_bytes` counts a column's version, too, which is no tensor."""
    trained = Learner(TINY_AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    before = _allocated()
    for start in range(0, 1200, 200):
        trained.extend([make_chunk([200], start=start, first_episode=start, iteration=1 + start)])
    trained.dataset.gather(np.array([[1]]), ["tokens", "reconstructions"])
    assert sum(trained.dataset.step_bytes().values()) == 12_301 + (4 * 8 + 8) + (4 * 12_288 + 8)
    on_device = sum(trained.dataset.step_bytes().values()) - 2 * 8
    assert abs(_allocated() - before - 2048 * on_device) < on_device


def _allocated() -> int:
    """Bytes of all tensors there are."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    return sum({each.data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())


def test_a_batch_that_cannot_be_gathered_is_too_large_itself(agent: AgentConfig):
    trained = learner(agent)
    with NoMemoryFor("index_select"), pytest.raises(BatchTooLargeError, match=r"^a batch of 4 does not fit"):
        trained.train(next(iter(trained.parts)), 1, range(1))


def test_memory_that_runs_out_in_an_inspection_for_something_else_stays_what_it_is(agent: AgentConfig):
    with NoMemoryFor("conv2d"), pytest.raises(torch.OutOfMemoryError):
        learner(agent).inspect(1)


def test_another_runtime_error_stays_itself(agent: AgentConfig):
    trained = learner(agent)
    first = next(iter(trained.parts))
    trainer = trained._trainers[first]
    trainer.part = replace(trainer.part, loss=lambda *_: _raise(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        trained.train(first, 1, range(1))


def _raise(error: Exception) -> NoReturn:
    raise error


def test_loading_forgets_what_other_weights_derived(agent: AgentConfig, tmp_path: Path):
    """Two learners may have taken equally many steps."""
    first, second = learner(agent, seed=0), learner(agent, seed=1)
    for each in (first, second):
        each.dataset.fill(tuple(first.algorithm.derived))
    second.save(str(tmp_path))
    first.load(str(tmp_path))
    found, expected = (
        drawn_from(each.dataset, 8, 2, "start", tuple(first.algorithm.derived), np.random.default_rng(0)).columns
        for each in (first, second)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("tf32", [True, False])
def test_matrix_products_of_a_gpu_may_round_to_tf32_where_the_setting_says_so(agent: AgentConfig, tf32: bool):
    Learner(agent, DatasetConfig(), LearnerConfig(tf32=tf32), seed=0, device="cpu")
    assert torch.backends.cuda.matmul.allow_tf32 == tf32


def test_an_iteration_that_is_damaged_in_its_middle_is_not_taken_up_at_all():
    first, second = make_chunk([4]), replace(make_chunk([3], environment=1, first_episode=1), iteration=2)

    class Stored:
        """Two iterations, of which the second breaks off."""

        rows: int | None = None

        def steps(self, receipts: Sequence[int], *, with_frames: bool) -> Iterator[Chunk]:
            yield first if receipts == [1] else second
            if receipts == [2]:
                raise RecoverableError("damaged")

        def frames(self, rows: np.ndarray) -> np.ndarray:
            raise AssertionError

        def truncate(self, num_rows: int) -> None:
            self.rows = num_rows

    stored = Stored()
    made = Learner(TINY_AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu", experience=stored)
    with pytest.raises(RecoverableError, match="damaged"):
        made.mirror([[1], [2]])
    assert (made.dataset.num_steps, made.dataset.newest_iteration, stored.rows) == (4, 1, 4)
    assert made.truncate(1) == 1
