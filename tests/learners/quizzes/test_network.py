"""Sequences of quizzes, and the GPT over them: sizes as published, no look ahead, a cache that changes no token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learners.nn.sampling import uniforms
from learners.quizzes.config import GridConfig, QuizNetworkConfig, QuizTrainingConfig, WorldConfig
from learners.quizzes.network import QuizGPT
from learners.quizzes.sequences import BACKWARD, FORWARD, Layout, Order
from learners.quizzes.training import Epoch, are_solved, make_world, rate, solve
from learners.streams import Streams

WORLD = WorldConfig(
    grid=GridConfig(size=3, colours=3, rectangles=2, least_side=1, least_area=1, most_area=4), tasks=("replace_color",)
)
LAYOUT = Layout.of(WORLD.grid)
TINY = QuizNetworkConfig(layers=2, heads=2, embedding_size=16, dropout=0.0, embedding_std=1.0)
BOTH = pytest.mark.parametrize("positions", ["sinusoidal", "factorised"])


def network(positions: str = "factorised", dropout: float = 0.0) -> QuizGPT:
    torch.manual_seed(0)
    return QuizGPT(TINY.model_copy(update={"positions": positions, "dropout": dropout}), LAYOUT).eval()


def tokens(count: int, order: Order = FORWARD) -> torch.Tensor:
    return torch.from_numpy(LAYOUT.encode(make_world(WORLD, count, np.random.default_rng(0))[0], order)).long()


def test_the_network_of_the_talk_has_as_many_parameters():
    gpt = QuizGPT(QuizNetworkConfig(), Layout.of(GridConfig()))
    assert sum(each.numel() for each in gpt.parameters()) == 37_817_869
    assert gpt.layout.length == 404


@pytest.mark.parametrize("order", [FORWARD, BACKWARD])
def test_sequences_are_quizzes_in_either_direction(order: Order):
    quizzes, _ = make_world(WORLD, 5, np.random.default_rng(0))
    found = LAYOUT.encode(quizzes, order)
    assert found.shape == (5, LAYOUT.length)
    assert (found[:, :: 1 + LAYOUT.cells] == LAYOUT.sign(order)).all()
    assert (found[:, 1 : 1 + LAYOUT.cells].reshape(5, 3, 3) == getattr(quizzes, order[0])).all()
    assert all(np.array_equal(*each) for each in zip(LAYOUT.decode(found, order), quizzes, strict=True))
    other = BACKWARD if order == FORWARD else FORWARD
    with pytest.raises(ValueError, match="found tokens that are no grids in the order"):
        LAYOUT.decode(found, other)
    found[2, 1] = LAYOUT.sign(FORWARD)
    with pytest.raises(ValueError, match="found tokens that are no grids in the order"):
        LAYOUT.decode(found, order)


@BOTH
def test_a_token_is_foretold_from_those_before_it_alone(positions: str):
    gpt, first = network(positions), tokens(2)
    for place in (0, 1, 11, LAYOUT.length - 1):
        changed = first.clone()
        changed[:, place] = (changed[:, place] + 1) % LAYOUT.colours if place else LAYOUT.sign(BACKWARD)
        difference = (gpt(first) - gpt(changed)).abs().amax(dim=(0, 2))
        assert (difference[: place + 1] == 0).all()
        assert place + 1 == LAYOUT.length or difference[place + 1] > 0


@BOTH
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_cache_changes_no_token(positions: str, temperature: float):
    gpt, known = network(positions), tokens(6, BACKWARD)[:, :5]
    count = LAYOUT.length - 5
    noise = uniforms((6, count), torch.Generator().manual_seed(0))
    found = gpt.complete(known, count, temperature, noise)
    slow = known
    for number in range(count):
        padded = torch.cat([slow, torch.zeros(6, LAYOUT.length - slow.shape[1], dtype=torch.int64)], dim=1)
        one = gpt.complete(padded[:, : slow.shape[1]], 1, temperature, noise[:, number, None])[:, -1]
        logits = gpt(padded)[:, slow.shape[1], : 1 + LAYOUT.colours]
        if temperature == 0 and slow.shape[1] % (1 + LAYOUT.cells):
            assert (logits.argmax(dim=1) == one).all()
        slow = torch.cat([slow, one[:, None]], dim=1)
    assert (found == slow).all()
    assert (found[:, :: 1 + LAYOUT.cells] == LAYOUT.sign(BACKWARD)).all()
    assert found[:, 1 : 1 + LAYOUT.cells].max() <= LAYOUT.colours


def test_noise_decides_what_is_drawn():
    gpt, known = network(), tokens(4)[:, :1]
    first, again, other = (
        gpt.complete(known, 9, 1.0, uniforms((4, 9), torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_an_epoch_learns_and_its_streams_decide_it_however_it_is_sliced():
    quizzes, _ = make_world(WORLD, 64, np.random.default_rng(1))
    training = QuizTrainingConfig(sequences=64, batch_size=8, learning_rate=3e-3, last_learning_rate=3e-4, warm_up=2)

    def trained(slices: int, *indices: int) -> tuple[QuizGPT, list[float]]:
        gpt, losses = network(dropout=0.1), []
        for number in range(6):
            epoch = Epoch(gpt, training, quizzes, Streams(0), number, *indices)
            for _ in range(0, epoch.steps, slices):
                epoch.run(slices)
            losses.append(epoch.loss)
        return gpt, losses

    (first, losses), (second, again), (third, _) = trained(8, 1), trained(3, 1), trained(8, 2)
    assert losses == again
    assert losses[-1] < losses[0] - 0.3
    assert all(torch.equal(*each) for each in zip(first.parameters(), second.parameters(), strict=True))
    assert any(not torch.equal(*each) for each in zip(first.parameters(), third.parameters(), strict=True))
    assert not first.training


def test_half_of_an_epoch_reads_in_each_direction_and_every_quiz_is_in_it_once():
    quizzes, _ = make_world(WORLD, 21, np.random.default_rng(1))
    tokens = Epoch(network(), QuizTrainingConfig(batch_size=8), quizzes, Streams(0), 1)._tokens.numpy()
    forward = tokens[:, 0] == LAYOUT.sign(FORWARD)
    assert forward.sum() == 11
    halves = (LAYOUT.decode(tokens[forward], FORWARD), LAYOUT.decode(tokens[~forward], BACKWARD))
    found = [cells.tobytes() for half in halves for cells in np.stack(half, axis=1)]
    assert sorted(found) == sorted(cells.tobytes() for cells in np.stack(quizzes, axis=1))


def test_what_is_solved_is_the_whole_last_grid(monkeypatch: pytest.MonkeyPatch):
    quizzes, _ = make_world(WORLD, 6, np.random.default_rng(0))
    gpt = network()
    assert solve(gpt, quizzes).shape == (6, 3, 3)
    assert not are_solved(gpt, quizzes).any()
    monkeypatch.setattr("learners.quizzes.training.solve", lambda *_: quizzes.fb)
    assert are_solved(gpt, quizzes).all()
    wrong = quizzes.fb.copy()
    wrong[2, 0, 0] += 1
    monkeypatch.setattr("learners.quizzes.training.solve", lambda *_: wrong)
    assert np.flatnonzero(~are_solved(gpt, quizzes)).tolist() == [2]


def test_the_learning_rate_rises_on_a_line_and_falls_on_a_cosine():
    config = QuizTrainingConfig(learning_rate=1.0, last_learning_rate=0.5, warm_up=4)
    assert [rate(config, step, 12) for step in (0, 1, 3, 4, 8)] == [0.25, 0.5, 1.0, 1.0, 0.75]
    assert rate(config, 11, 12) == pytest.approx(0.5, abs=0.03)


def test_a_world_has_as_many_quizzes_of_every_task():
    world = WorldConfig(tasks=("translate", "motion", "detect"))
    quizzes, tasks = make_world(world, 10, np.random.default_rng(0))
    assert np.bincount(tasks).tolist() == [4, 3, 3]
    assert (quizzes.fb[tasks == 2].max(axis=(1, 2)) > 0).all()
    assert np.diff(tasks).any()
    assert len(np.unique(quizzes.a, axis=0)) == 10
