"""A GPT over quizzes: it reads and makes them in both directions.

Legend: N quizzes, L tokens of a sequence, T new ones, V vocabulary, E embedding.
Source: Fleuret, culture.git, as of the talk: width 512, 8 heads, 12 blocks, ReLU, no bias in attention, no last norm.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

from learners.nn.key_value_cache import KeyValueCache
from learners.nn.sampling import sample_categorical
from learners.nn.transformer import Transformer
from learners.quizzes.config import QuizNetworkConfig
from learners.quizzes.sequences import BACKWARD, GRIDS, Layout

SLOWEST = 1e5
"""Of sinusoidal positions: the longest wave is 2π times this."""


class QuizGPT(nn.Module):
    """Logits of every token given those before it; the first one's given a start token of its own."""

    def __init__(self, config: QuizNetworkConfig, layout: Layout) -> None:
        super().__init__()
        self.config, self.layout = config, layout
        size = config.embedding_size
        self.embedding = nn.Embedding(layout.vocabulary + 1, size)
        self.positions = Places(layout, size) if config.positions == "factorised" else Waves(layout.length, size)
        self.transformer = Transformer(config, activation=nn.ReLU, attention_bias=False, final_norm=False)
        self.readout = nn.Linear(size, layout.vocabulary)
        for embedding in self.modules():
            if isinstance(embedding, nn.Embedding):
                nn.init.normal_(embedding.weight, std=config.embedding_std)

    @property
    def start(self) -> int:
        """The token before the first."""
        return self.layout.vocabulary

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) int64 -> logits (N, L, V): of token i, which only depend on those before it."""
        return self._logits(self._inputs(tokens[:, :-1]), 0, self._is_backward(tokens), None)

    @torch.no_grad()
    def complete(self, known: Tensor, count: int, temperature: float, uniforms: Tensor | None = None) -> Tensor:
        """Goes on with sequences: cells are drawn, the tokens between grids are written.

        Args:
            known: (N, K) int64 with K ≥ 1, the first tokens.
            count: how many more.
            temperature: 0 takes the most probable one each time.
            uniforms: (N, count) in [0, 1), the noise; not needed without temperature.

        Returns: (N, K + count) int64.
        """
        found = torch.empty(len(known), known.shape[1] + count, dtype=torch.int64, device=known.device)
        found[:, : known.shape[1]] = known
        backward = self._is_backward(known)
        cache = self.transformer.new_cache(len(known), found.shape[1])
        inputs, first = self._inputs(known), 0
        for number in range(count):
            place = known.shape[1] + number
            logits = self._logits(inputs, first, backward, cache)[:, -1]  # (N, V)
            if place % (1 + self.layout.cells) == 0:
                found[:, place] = known[:, 0]
            else:
                colours = logits[:, : 1 + self.layout.colours]
                if temperature == 0:
                    found[:, place] = colours.argmax(dim=1)
                else:
                    assert uniforms is not None
                    found[:, place] = sample_categorical(colours / temperature, uniforms[:, number])
            inputs, first = found[:, place, None], place + 1
        return found

    def _inputs(self, tokens: Tensor) -> Tensor:
        """(N, T) -> (N, 1 + T): the start token before them."""
        return torch.cat([torch.full_like(tokens[:, :1], self.start), tokens], dim=1)

    def _is_backward(self, tokens: Tensor) -> Tensor:
        """(N,) bool: what the first token says."""
        return tokens[:, 0] == self.layout.sign(BACKWARD)

    def _logits(self, inputs: Tensor, first: int, backward: Tensor, cache: KeyValueCache | None) -> Tensor:
        """(N, T) inputs from place `first` on -> (N, T, V)."""
        x = self.embedding(inputs) + self.positions(first, inputs.shape[1], backward)
        return self.readout(self.transformer(x, cache))


class Waves(nn.Module):
    """Sines and cosines of a place's number: sin(p / 1e5^(2k/E)), and the cosine after each."""

    table: Tensor

    def __init__(self, length: int, size: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, size, 2) * (-log(SLOWEST) / size))  # (E/2,)
        angles = torch.arange(length)[:, None] * rates  # (L, E/2)
        table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :size]
        self.register_buffer("table", table, persistent=False)

    def forward(self, first: int, count: int, backward: Tensor) -> Tensor:
        """(1, T, E)."""
        return self.table[None, first : first + count]


class Places(nn.Module):
    """Sums of embeddings: grid, row and column of the token that is read, and of the one that is to come.

    Grids are counted apart in both directions, so that what is known of one is in its embedding. Learns from less than
    a table of all places.
    """

    def __init__(self, layout: Layout, size: int) -> None:
        super().__init__()
        grids = 1 + 2 * GRIDS  # and the start
        sizes = (grids, layout.size + 1, layout.size + 1)
        self.here = nn.ModuleList(nn.Embedding(number, size) for number in sizes)
        self.next = nn.ModuleList(nn.Embedding(number, size) for number in sizes)
        place = torch.arange(layout.length)
        grid, cell = place // (1 + layout.cells), place % (1 + layout.cells) - 1
        sign = cell < 0
        row = torch.where(sign, layout.size, cell // layout.size)
        column = torch.where(sign, layout.size, cell % layout.size)
        start = torch.tensor([[0, layout.size, layout.size]])
        places = torch.cat([start, torch.stack([1 + grid, row, column], dim=1)])  # (1 + L, 3)
        self.register_buffer("places", places, persistent=False)

    places: Tensor

    def forward(self, first: int, count: int, backward: Tensor) -> Tensor:
        """(N, T, E)."""
        # Before the first token is read, nobody knows the direction.
        knows = backward[:, None] & (torch.arange(first, first + count, device=backward.device) > 0)  # (N, T)
        return self._sum(self.here, first, count, knows) + self._sum(self.next, first + 1, count, knows)

    def _sum(self, tables: nn.ModuleList, first: int, count: int, backward: Tensor) -> Tensor:
        grid, row, column = self.places[first : first + count].T  # each (T,)
        return tables[0](grid + GRIDS * backward) + tables[1](row) + tables[2](column)
