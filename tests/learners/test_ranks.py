"""Several processes that share a batch take the step that one process takes on the whole of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import torch
from torch import Tensor, nn

from learners.algorithm import AgentConfig
from learners.config import DatasetConfig, LearnerConfig, PartTraining
from learners.drawing import UniformDrawing
from learners.learner import Learner
from learners.part import Losses, Mean, Part, Segments, Statistic
from learners.part_trainer import DivergedError, PartTrainer
from learners.planning.config import UpperConfig
from learners.ranks import ALONE, ProcessRanks, RankLostError, Ranks, meeting_point, share
from tests.learners.fakes import ACTION_SPACE, TINY_DELTA_IRIS, TINY_IRIS, TINY_JEPA, make_chunk, with_tiny

TIMEOUT_S = 60.0


class ThreadRanks:
    """Ranks that are threads of this process."""

    def __init__(self, index: int, count: int, barrier: Barrier, parts: list[Tensor | None]) -> None:
        self.index, self.count = index, count
        self._barrier, self._parts = barrier, parts

    def add_up(self, tensor: Tensor) -> Tensor:
        self._parts[self.index] = tensor.detach()
        self._barrier.wait(TIMEOUT_S)
        total = torch.stack([part for part in self._parts if part is not None]).sum(dim=0)
        self._barrier.wait(TIMEOUT_S)
        return total


def without_dropout(*, learn_after_end: bool) -> AgentConfig:
    """Dropout draws differ between ranks."""
    return with_tiny(
        world_model=TINY_IRIS.world_model.model_copy(update={"dropout": 0.0}),
        actor_critic=TINY_IRIS.actor_critic.model_copy(update={"learn_after_end": learn_after_end}),
    )


def learner(agent: AgentConfig, ranks: Ranks = ALONE) -> Learner:
    """Segments of three steps: those of these episodes are padded, each in another way."""
    made = Learner(agent, DatasetConfig(), LearnerConfig(), seed=0, device="cpu", ranks=ranks)
    made.extend([make_chunk([1, 9, 2, 5])])
    return made


def one_step(learner: Learner, part: str) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What is reported, and the gradient that was taken."""
    report = learner.train(part, 1, range(1))
    gradients = {name: each.grad for name, each in learner.parts[part].module.named_parameters()}
    return report, {name: gradient for name, gradient in gradients.items() if gradient is not None}


def on_ranks(agent: AgentConfig, part: str, count: int) -> list[tuple[dict[str, float], dict[str, Tensor]]]:
    barrier, parts = Barrier(count), [None] * count
    learners = [learner(agent, ThreadRanks(index, count, barrier, parts)) for index in range(count)]  # type: ignore[arg-type]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda each: one_step(each, part), learners))


SHARED = {
    "iris": without_dropout(learn_after_end=True),
    "iris, until an end": without_dropout(learn_after_end=False),
    "delta-iris": AgentConfig(
        TINY_DELTA_IRIS.model_copy(
            update={"tokenizer": TINY_DELTA_IRIS.tokenizer.model_copy(update={"revive": False})}
        ),
        ACTION_SPACE,
    ),
    "jepa": AgentConfig(TINY_JEPA.model_copy(update={"upper": UpperConfig()}), ACTION_SPACE),
}
"""Agents that several processes can train, and whose losses draw nothing of their own."""


@pytest.mark.parametrize(
    ("name", "part"), [(name, part) for name, agent in SHARED.items() for part in agent.algorithm.trainings]
)
@pytest.mark.parametrize("count", [2, 4])
def test_gradients_are_those_of_one_process_on_the_joint_batch(part: str, count: int, name: str):
    agent = SHARED[name]
    expected_report, expected = one_step(learner(agent), part)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for report, gradients in on_ranks(agent, part, count):
        assert gradients.keys() == expected.keys()
        for parameter, gradient in gradients.items():
            difference = (gradient - expected[parameter]).abs().max()
            assert difference <= 5e-4 * largest, parameter
        losses = {key: value for key, value in report.items() if key.startswith("loss") or key == "gradient_norm"}
        assert losses == pytest.approx({key: expected_report[key] for key in losses}, rel=1e-4)


@pytest.mark.parametrize("agent", SHARED.values(), ids=SHARED)
def test_ranks_end_with_the_same_weights(agent: AgentConfig):
    barrier, parts = Barrier(2), [None] * 2
    learners = [learner(agent, ThreadRanks(index, 2, barrier, parts)) for index in range(2)]  # type: ignore[arg-type]

    def train(each: Learner) -> list[float]:
        for part in each.parts:
            each.train(part, 1, range(3))
        return each.weights().tolist()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(train, learners)
    assert first == second
    assert first != learner(agent).weights().tolist()


def test_a_codebook_on_ranks_moves_as_it_would_by_the_joint_batch():
    agent = SHARED["delta-iris"]
    barrier, parts = Barrier(2), [None] * 2
    learners = [learner(agent, ThreadRanks(index, 2, barrier, parts)) for index in range(2)]  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda each: each.train("tokenizer", 1, range(1)), learners))
    whole = learner(agent)
    whole.train("tokenizer", 1, range(1))
    for each in learners:
        found, expected = (one.parts["tokenizer"].module.state_dict() for one in (each, whole))
        for name in ("codebook.codewords", "codebook.usage", "codebook.updates"):
            torch.testing.assert_close(found[name], expected[name])


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_of_them():
    agent = without_dropout(learn_after_end=True)
    barrier, parts = Barrier(2), [None] * 2
    learners = [learner(agent, ThreadRanks(index, 2, barrier, parts)) for index in range(2)]  # type: ignore[arg-type]
    trainer = learners[1]._trainers["tokenizer"]
    whole = trainer.part.loss

    def broken(segments: Segments, noise: Tensor) -> Losses:
        losses = whole(segments, noise)
        return losses._replace(terms={**losses.terms, "broken": Mean(torch.tensor(torch.nan), torch.tensor(1.0))})

    def also(segments: Segments, noise: Tensor) -> Losses:
        losses = whole_of_first(segments, noise)
        return losses._replace(terms={**losses.terms, "broken": Mean(torch.tensor(0.0), torch.tensor(1.0))})

    trainer.part = replace(trainer.part, loss=broken)
    first = learners[0]._trainers["tokenizer"]
    whole_of_first = first.part.loss
    first.part = replace(first.part, loss=also)

    def diverges(each: Learner) -> bool:
        with pytest.raises(DivergedError):
            each.train("tokenizer", 1, range(1))
        return True

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(diverges, learners)) == [True, True]


def test_a_function_of_sums_is_that_of_the_joint_batch_and_hooks_get_the_joint_sums():
    """The variance of what a layer makes of (index + 1) in a batch of four: a function of Σx, Σx² and n, no mean."""
    seen: list[dict[str, Tensor]] = []

    def variance(sums: Tensor) -> Tensor:
        total, squares, count = sums
        return squares / count - (total / count).square()

    def made(ranks: Ranks = ALONE) -> PartTrainer:
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 2.0)
        uniform = UniformDrawing(1, anchor="start")
        training = PartTraining(starts_after=0, batch_size=4)
        part = Part("part", layer, training, uniform, (), lambda segments, noise: Losses({}, {}))
        return PartTrainer(replace(part, after_step=lambda is_taken, sums: seen.append(dict(sums))))

    def one_step(trainer: PartTrainer, ranks: Ranks) -> tuple[float, float]:
        x = trainer.part.module(torch.arange(1.0, 5.0)[share(ranks, 4)].unsqueeze(1))
        term = Statistic(torch.stack([x.sum(), x.square().sum(), x.new_tensor(len(x))]), variance)
        report = trainer.step(Losses({"variance": term}, {}, {"square": torch.full((2, 2), float(len(x)))}), ranks)
        return float(report["loss/variance"]), float(report["gradient_norm"])

    barrier, parts = Barrier(2), [None] * 2
    ranks = [ThreadRanks(index, 2, barrier, parts) for index in range(2)]  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: one_step(made(), each), ranks))
    # Var(w·x) = w² · 1.25 with w = 2: 5; its derivative by w is 2 · w · 1.25 = 5.
    assert found == [(5.0, 5.0)] * 2
    assert one_step(made(), ALONE) == (5.0, 5.0)
    assert all(torch.equal(each["square"], torch.full((2, 2), 4.0)) for each in seen)
    assert len(seen) == 3


def test_a_batch_is_shared_out_without_rest():
    barrier = Barrier(3)
    shares = [share(ThreadRanks(index, 3, barrier, []), 6) for index in range(3)]
    assert [list(range(6))[each] for each in shares] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="a batch of 7 cannot be shared out equally: found 3 ranks"):
        share(ThreadRanks(0, 3, barrier, []), 7)


def test_a_meeting_to_which_not_all_come_ends_in_one_line():
    address, meeting = meeting_point("127.0.0.1")
    with pytest.raises(RankLostError) as lost:
        ProcessRanks(address, 0, 2, torch.device("cpu"), timeout_s=1.0)
    assert str(lost.value).startswith("another process of the learner is lost: ")
    assert "\n" not in str(lost.value)
    del meeting
