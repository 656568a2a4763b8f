"""A part brings what is special about it: its optimiser, what comes before and after a step, what its module holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from learners.action_space import Discrete
from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig, PartTraining
from learners.drawing import CountedDrawing, UniformDrawing
from learners.learner import Learner
from learners.part import Losses, Mean, Part
from learners.part_trainer import PartTrainer
from learners.weights import flat_weights, load_flat_weights
from tests.examples.latent_shooting import LatentShootingConfig
from tests.learners.fakes import make_chunk

TRAINING = PartTraining(starts_after=0, batch_size=1, learning_rate=0.1)


class Followed(nn.Module):
    """A weight, a slow copy of it that takes no gradient, and an integer that counts."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Linear(2, 1)
        self.target = nn.Linear(2, 1).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def follow(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        for old, new in zip(self.target.parameters(), self.online.parameters(), strict=True):
            old.copy_(torch.where(is_taken, 0.5 * old + 0.5 * new, old))

    def count(self, is_taken: Tensor, sums: Mapping[str, Tensor]) -> None:
        self.steps.copy_(torch.where(is_taken, self.steps + sums["one"], self.steps))


def momentum(module: nn.Module, training: PartTraining) -> torch.optim.Optimizer:
    parameters = [each for each in module.parameters() if each.requires_grad]
    return torch.optim.SGD(parameters, lr=training.learning_rate, momentum=0.9, fused=True)


def trainer(optimizer: object = None, beside: nn.Module | None = None) -> PartTrainer:
    torch.manual_seed(0)
    module = Followed()
    if beside:
        module.add_module("beside", beside)
    part = Part(
        name="followed",
        module=module,
        training=TRAINING,
        drawing=UniformDrawing(1, anchor="start"),
        columns=(),
        loss=lambda segments, noise: Losses({}, {}),
        before_step=torch.no_grad()(module.follow),
        after_step=torch.no_grad()(module.count),
    )
    return PartTrainer(replace(part, optimizer=optimizer) if optimizer else part)  # type: ignore[arg-type]


def step(of: PartTrainer, scale: float = 1.0) -> None:
    module = of.part.module
    assert isinstance(module, Followed)
    loss = module.online(torch.ones(1, 2)).square().sum() * scale
    of.step(Losses({"square": Mean(loss, torch.ones(()))}, {}, {"one": torch.tensor(1)}))


def state(of: PartTrainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in of.part.module.state_dict().items()}


def test_what_comes_before_a_step_sees_the_weights_before_it_and_what_comes_after_those_after():
    trained = trainer()
    before = state(trained)
    step(trained)
    after = state(trained)
    expected = 0.5 * before["target.weight"] + 0.5 * before["online.weight"]
    assert torch.equal(after["target.weight"], expected)
    assert not torch.equal(after["online.weight"], before["online.weight"])
    assert after["steps"] == 1


def test_a_step_that_is_not_taken_changes_nothing_at_all():
    trained = trainer()
    step(trained)
    before = state(trained)
    for scale in (float("inf"), 1.0):  # and none after it is
        step(trained, scale)
    for name, tensor in state(trained).items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("optimizer", [None, momentum])
def test_a_saved_part_goes_on_as_if_it_had_never_stopped(optimizer: object):
    whole, first, second = trainer(optimizer), trainer(optimizer), trainer(optimizer)
    for _ in range(2):
        step(whole)
        step(first)
    second.from_bytes(first.to_bytes())
    for each in (whole, second):
        step(each)
    for name, tensor in state(whole).items():
        assert torch.equal(tensor, state(second)[name]), name
    assert second.updates == 3
    assert second.part.module.steps.dtype == torch.int64


def test_what_no_loss_ever_uses_is_saved_without_a_state_of_its_optimiser():
    saved, loaded = (trainer(beside=nn.Linear(2, 1)) for _ in range(2))
    step(saved)
    loaded.from_bytes(saved.to_bytes())
    for each in (saved, loaded):
        step(each)
    for name, tensor in state(saved).items():
        assert torch.equal(tensor, state(loaded)[name]), name
    assert {saved.to_bytes() for _ in range(8)} == {loaded.to_bytes()}


def test_a_part_of_another_optimiser_is_refused():
    saved = trainer(momentum)
    step(saved)
    with pytest.raises(ValueError, match=r"weights of another network, first difference at optimizer\.online"):
        trainer().from_bytes(saved.to_bytes())


def test_weights_of_all_kinds_travel_bit_for_bit():
    module = nn.Module()
    values = {
        "halves": torch.tensor([1.5, float("nan"), -0.0], dtype=torch.bfloat16),
        "flags": torch.tensor([True, False, True]),
        "number": torch.tensor(2**40 + 1),
        "weights": torch.randn(3, 5),
        "none": torch.zeros(0),
    }
    for name, value in values.items():
        module.register_buffer(name, torch.zeros_like(value))
        getattr(module, name).copy_(value)
    flat = flat_weights({"module": module})
    assert flat.nbytes == sum(value.nbytes for value in values.values())
    for value in module.state_dict().values():
        value.zero_()
    load_flat_weights({"module": module}, flat)
    for name, value in values.items():
        torch.testing.assert_close(getattr(module, name), value, rtol=0, atol=0, equal_nan=True)


def counted() -> CountedDrawing:
    return CountedDrawing(2, alpha=20.0, padding="both")  # nearly always the one that was drawn least often


def drawing_learner() -> Learner:
    """Of the example, whose model draws with memory."""
    agent = AgentConfig(
        LatentShootingConfig(horizon=2, training=TRAINING.model_copy(update={"batch_size": 5})), Discrete(3)
    )
    made = Learner(agent, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    trainer = made._trainers["model"]
    trainer.part = made.parts["model"] = replace(trainer.part, drawing=counted())
    made.extend([make_chunk([3, 4, 5], first_episode=70)])
    return made


def test_what_a_drawing_remembers_is_saved_with_its_part(tmp_path: Path):
    whole, first, second = (drawing_learner() for _ in range(3))
    reports = [whole.train("model", 1, range(3)), whole.train("model", 2, range(3))]
    assert first.train("model", 1, range(3)) == reports[0]
    first.save(str(tmp_path))
    second.load(str(tmp_path))
    assert second.train("model", 2, range(3)) == reports[1]
    counts = second.parts["model"].drawing.state()
    assert sorted(counts["episodes"].tolist()) == [70, 71, 72]
    assert counts["times"].sum() == 3 * 5  # of the second iteration: draws of the first are not counted


def test_a_state_of_another_drawing_is_refused_and_changes_nothing(tmp_path: Path):
    """One that remembers, and one that does not."""
    remembers, plain = drawing_learner(), trainer()
    remembers.train("model", 2, range(1))
    trained = remembers._trainers["model"]
    forgetful = PartTrainer(replace(trained.part, drawing=UniformDrawing(2, anchor="start")))
    before = state(forgetful)
    with pytest.raises(ValueError, match="state of another drawing: found episodes, times, expected nothing"):
        forgetful.from_bytes(trained.to_bytes())
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(forgetful).items())
    with pytest.raises(ValueError, match="found none, expected counts"):
        PartTrainer(replace(plain.part, drawing=counted())).from_bytes(plain.to_bytes())
