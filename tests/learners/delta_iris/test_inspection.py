from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from learners.delta_iris.gpt import Gpt
from learners.delta_iris.inspection import token_pictures
from learners.delta_iris.tokenizer import Tokenizer
from learners.inspection import Chart, Film
from learners.part import Segments, to_unit
from tests.learners.fakes import NUM_ACTIONS, TINY_DELTA_IRIS

T, K, V = 4, 4, 16


@torch.no_grad()
@pytest.mark.parametrize("context_frames", [1, 2])
def test_one_start_is_continued_by_reality_by_the_model_and_by_tokens_that_mean_nothing(context_frames: int):
    torch.manual_seed(0)
    tokenizer = Tokenizer(TINY_DELTA_IRIS.tokenizer.model_copy(update={"context_frames": context_frames}), NUM_ACTIONS)
    gpt = Gpt(TINY_DELTA_IRIS.world_model, vocab_size=V, tokens_per_frame=K, num_actions=NUM_ACTIONS)
    for parameter in gpt.parameters():
        parameter.mul_(5.0)  # predictions depend on what came before
    tokenizer.decoder_actions.weight.mul_(1_000.0)  # which action is taken can be seen
    nothing = torch.zeros(1, T)
    frames = torch.randint(256, (1, T, 3, 64, 64), dtype=torch.uint8)
    columns = {"frames": frames, "tokens": torch.randint(V, (1, T, K))}
    segment = Segments(torch.tensor([[0, 1, 2, 0]]), nothing, nothing.bool(), ~nothing.bool(), columns)
    chart = token_pictures(tokenizer, gpt, segment, torch.Generator())["token_entropy"]
    assert isinstance(chart, Chart)
    predicted = gpt(to_unit(frames), segment.actions, columns["tokens"][:, 1:]).tokens[0].softmax(dim=-1)
    for k, bits in enumerate(chart.panels[0].curves.values()):
        expected = -(predicted[:, k] * predicted[:, k].log2()).sum(dim=-1)
        np.testing.assert_allclose(bits, expected.numpy(), rtol=1e-5)
    last = gpt.token_head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # every token is equally likely
    pictures = token_pictures(tokenizer, gpt, segment, torch.Generator().manual_seed(0))
    film, chart = pictures["continuations"], pictures["token_entropy"]
    assert isinstance(film, Film)
    assert isinstance(chart, Chart)
    real, dreamt, drawn = film.columns
    assert np.array_equal(real, frames[0].numpy())
    assert all(np.array_equal(each[0], real[0]) and each.shape == real.shape for each in (dreamt, drawn))
    assert not any(np.array_equal(each[1], real[1]) for each in (dreamt, drawn))
    assert list(chart.panels[0].curves) == [f"token {k}" for k in range(1, K + 1)]
    for bits in chart.panels[0].curves.values():
        np.testing.assert_allclose(bits, np.full(T - 1, 4.0))
    # The frame after the start is what some tokens make of it, with black frames before it.
    previous = torch.cat([torch.zeros(1, context_frames - 1, 3, 64, 64), to_unit(frames[:, :1])], dim=1)
    actions = torch.cat([torch.zeros(1, context_frames - 1, dtype=torch.int64), segment.actions[:, :1]], dim=1)
    generator = torch.Generator().manual_seed(0)
    torch.rand(T, 1, K + 2, generator=generator)
    tokens = (torch.rand(T, 1, K, generator=generator) * V).long()[0]
    expected = tokenizer.decode(previous, actions, tokens).mul(255.0).round()
    assert np.array_equal(drawn[1], expected[0].numpy().astype(np.uint8))
