"""Quizzes that a model makes up.

It draws f(b) boldly, tells backwards what could have led there, and answers its own question anew.

Legend: N quizzes, L tokens of a sequence, H cells per side.
Source: Fleuret, culture.git.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from learners.nn.sampling import uniforms
from learners.quizzes.config import GenerationConfig
from learners.quizzes.network import QuizGPT
from learners.quizzes.sequences import BACKWARD, FORWARD
from learners.quizzes.tasks import Grids, Quizzes


class MadeUp(NamedTuple):
    quizzes: Quizzes
    first: Grids
    """(N, H, H): f(b) as it was drawn before there was a question."""


def generate(network: QuizGPT, config: GenerationConfig, count: int, generator: torch.Generator) -> MadeUp:
    """N = `count` quizzes in three steps: f(b) at the hot temperature; b, f(a) and a backwards from it at the cold one;
    f(b) anew from those. The generator, on the network's device, decides all."""
    layout, device = network.layout, generator.device
    sign = torch.full((count, 1), layout.sign(BACKWARD), dtype=torch.int64, device=device)

    def go_on(known: torch.Tensor, length: int, temperature: float) -> torch.Tensor:
        return network.complete(known, length, temperature, uniforms((count, length), generator))

    answer = go_on(sign, layout.cells, config.hot)
    backward = go_on(answer, layout.length - answer.shape[1], config.cold)
    question = layout.decode(_bytes(backward), BACKWARD)
    forward = torch.from_numpy(layout.encode(question, FORWARD)).to(device, torch.int64)[:, : -layout.cells]
    whole = layout.decode(_bytes(go_on(forward, layout.cells, config.cold)), FORWARD)
    return MadeUp(whole, question.fb)


def _bytes(tokens: torch.Tensor) -> NDArray[np.uint8]:
    return tokens.cpu().numpy().astype(np.uint8)
