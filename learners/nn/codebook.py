"""Vector quantisation on the unit sphere with a codebook that follows moving averages of what chose it.

The forward pass only looks up; what a batch says of the codebook is an object of tensors, and `update` applies it once
it is known whether the gradient step is taken.

Legend: N encodings, D features per codeword, V codewords.
Source: Micheli, Alonso, Fleuret (2024); van den Oord, Vinyals, Kavukcuoglu (2017), appendix A.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.nn.precision import full_precision
from learners.nn.quantizer import Quantized


@dataclass(frozen=True)
class Candidates:
    """What unused codewords may become; there is no such thing of several batches together."""

    encodings: Tensor  # (M, D), distinct and in random order, M = min(N, V)
    keys: Tensor  # (V,) in [0, 1): the unused codewords with the smallest come first


@dataclass(frozen=True)
class Assignments:
    """Which codewords a batch of encodings chose; those of the shares of a batch add up to those of the whole."""

    counts: Tensor  # (V,) float32: encodings that chose a codeword
    sums: Tensor  # (V, D) of these encodings
    candidates: Candidates | None = None

    def __add__(self, other: Assignments) -> Assignments:
        """Raises ValueError if codewords may be revived: that takes the joint batch."""
        if self.candidates or other.candidates:
            raise ValueError("a codebook that revives codewords needs the joint batch: found shares of one")
        return Assignments(self.counts + other.counts, self.sums + other.sums)


class MovingAverageCodebook(nn.Module):
    """Codewords on the unit sphere, found by the largest inner product; they take no gradient.

    They start uniform in ±1/V, not normalised before the first update.
    """

    def __init__(
        self,
        vocab_size: int,
        codeword_size: int,
        *,
        decay: float,
        usage_decay: float,
        revive: bool,
        revive_updates: int,
    ) -> None:
        """`decay` is of the codewords; for `revive_updates` see `update`."""
        super().__init__()
        self.decay, self.usage_decay = decay, usage_decay
        self.revive, self.revive_updates = revive, revive_updates
        codewords = torch.empty(vocab_size, codeword_size).uniform_(-1.0 / vocab_size, 1.0 / vocab_size)
        self.register_buffer("codewords", codewords)
        self.register_buffer("usage", torch.full((vocab_size,), 1.0 / vocab_size))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.codewords: Tensor  # (V, D)
        self.usage: Tensor  # (V,) moving average of the share of encodings that chose a codeword
        self.updates: Tensor  # () int64, those taken so far

    def nearest(self, encodings: Tensor) -> Tensor:
        """Tokens (...) of encodings (..., D) of length 1: argmax of z · codeword."""
        with full_precision(encodings.device):
            return (encodings @ self.codewords.T).argmax(dim=-1)

    def forward(self, encodings: Tensor) -> Quantized:
        """encodings (N, K, D) of length 1; their codewords carry no gradient."""
        tokens = self.nearest(encodings)
        codewords = self.look_up(tokens)
        return Quantized(tokens, codewords, encodings + (codewords - encodings).detach())

    def look_up(self, tokens: Tensor) -> Tensor:
        """Codewords (..., D) of tokens (...)."""
        return F.embedding(tokens, self.codewords)

    def entropy(self) -> Tensor:
        """Of the usage, in bits, at most log2 V."""
        return entropy_in_bits(self.usage)

    @torch.no_grad()
    def assignments(self, encodings: Tensor, tokens: Tensor, uniforms: Tensor | None = None) -> Assignments:
        """What `update` needs of a batch.

        Args:
            encodings: (..., D) of length 1, N in all.  tokens: (...), what they chose.
            uniforms: (N + V or more,) in [0, 1), if the codebook revives codewords: all randomness of the revival.

        Raises: ValueError if it revives codewords and there are fewer uniforms.
        """
        vocab_size, flat, chosen = len(self.codewords), encodings.flatten(0, -2), tokens.flatten()  # (N, D), (N,)
        counts = torch.zeros_like(self.usage).index_add_(0, chosen, flat.new_ones(len(flat)))
        sums = torch.zeros_like(self.codewords).index_add_(0, chosen, flat)
        if not self.revive:
            return Assignments(counts, sums)
        if uniforms is None or len(uniforms) < len(flat) + vocab_size:
            found = "none" if uniforms is None else len(uniforms)
            raise ValueError(f"revival takes {len(flat) + vocab_size} uniforms: found {found}")
        drawn = uniforms[: len(flat)].argsort()[:vocab_size]  # (M,)
        keys = uniforms[len(flat) : len(flat) + vocab_size]
        return Assignments(counts, sums, Candidates(flat.index_select(0, drawn), keys))

    @torch.no_grad()
    def update(self, assignments: Assignments, is_taken: Tensor) -> None:
        """Moves the codebook, or changes no bit of it where `is_taken`, () bool on the device, is False.

        With n_c and Σ_c the counts and sums of `assignments`, N = Σ n_c, and p the usage:
            codeword_c ← decay codeword_c + (1 − decay) normalise(Σ_c / max(n_c, 1)), where normalise(0) = 0
            p ← usage_decay p + (1 − usage_decay) n / N,  h its entropy in bits
            if h < log2 V − 2 and (h < 1 or fewer than `revive_updates` updates were taken): at most N random codewords
                with p_c < 1 / 10V become distinct random encodings of the batch, and their p_c is 1 / V
            codeword_c ← normalise(codeword_c)
        """
        targets = F.normalize(assignments.sums / assignments.counts.clamp(min=1.0).unsqueeze(1), dim=1)  # (V, D)
        codewords = self.decay * self.codewords + (1.0 - self.decay) * targets
        shares = assignments.counts / assignments.counts.sum()
        usage = self.usage_decay * self.usage + (1.0 - self.usage_decay) * shares
        if assignments.candidates:
            codewords, usage = self._revived(codewords, usage, assignments.candidates)
        codewords = F.normalize(codewords, dim=1)
        self.codewords.copy_(torch.where(is_taken, codewords, self.codewords))
        self.usage.copy_(torch.where(is_taken, usage, self.usage))
        self.updates.copy_(torch.where(is_taken, self.updates + 1, self.updates))

    def _revived(self, codewords: Tensor, usage: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        vocab_size, entropy = len(usage), entropy_in_bits(usage)
        is_early = (entropy < 1.0) | (self.updates < self.revive_updates)
        unused = usage < 1.0 / (10 * vocab_size)  # (V,)
        revivable = unused & is_early & (entropy < math.log2(vocab_size) - 2.0)
        first = torch.where(unused, candidates.keys, 2.0).argsort()[: len(candidates.encodings)]  # (M,)
        is_revived = revivable.index_select(0, first)
        moved = torch.where(is_revived.unsqueeze(1), candidates.encodings, codewords.index_select(0, first))
        used = torch.where(is_revived, 1.0 / vocab_size, usage.index_select(0, first))
        return codewords.index_copy(0, first, moved), usage.index_copy(0, first, used)


def entropy_in_bits(frequencies: Tensor) -> Tensor:
    """−Σ p log2 p of frequencies (V,), where 0 log2 0 = 0."""
    return -(frequencies * frequencies.clamp(min=1e-12).log2()).sum()
