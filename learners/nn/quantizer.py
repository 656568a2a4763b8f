"""Vector quantisation with a learned codebook.

Legend: N frames, K tokens per frame, D features per codeword, V codewords.
Source: van den Oord, Vinyals, Kavukcuoglu (2017).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from learners.nn.precision import full_precision


class Quantized(NamedTuple):
    tokens: Tensor  # (N, K) int64
    codewords: Tensor  # (N, K, D) the codewords of `tokens`, with gradient to the codebook
    straight_through: Tensor  # (N, K, D) the same values, with the gradient passed to the encoder's output unchanged


class Quantizer(nn.Module):
    """Replaces each vector by its nearest codeword (Euclidean); the codebook starts uniform in ±1/V.

    With `revive_after` > 0, a codeword that was nearest to nothing in so many training batches in a row moves onto a
    vector of the current one: a codebook of which few codewords are used cannot grow otherwise.
    """

    def __init__(self, vocab_size: int, codeword_size: int, *, revive_after: int = 0) -> None:
        super().__init__()
        self.codebook = nn.Embedding(vocab_size, codeword_size)
        nn.init.uniform_(self.codebook.weight, -1.0 / vocab_size, 1.0 / vocab_size)
        self.revive_after = revive_after
        if revive_after:
            self.register_buffer("idle", torch.zeros(vocab_size))
        self.idle: Tensor  # (V,) training batches since a codeword was used

    def nearest(self, latents: Tensor) -> Tensor:
        """Tokens (N, K) of latents (N, K, D)."""
        flat = latents.flatten(0, 1)  # (N*K, D)
        codebook = self.codebook.weight
        with full_precision(flat.device):
            # ‖z − e‖² without ‖z‖², which is the same for every codeword.
            distances = torch.addmm(codebook.square().sum(dim=1), flat, codebook.T, alpha=-2.0)  # (N*K, V)
        return distances.argmin(dim=1).view(latents.shape[:2])

    def forward(self, latents: Tensor) -> Quantized:
        """latents (N, K, D)."""
        if self.training and self.revive_after:
            self._revive(latents.detach())
        tokens = self.nearest(latents)
        codewords = self.codebook(tokens)
        straight_through = latents + (codewords - latents).detach()
        return Quantized(tokens, codewords, straight_through)

    @torch.no_grad()
    def _revive(self, latents: Tensor) -> None:
        codebook, flat = self.codebook.weight, latents.flatten(0, 1)  # (V, D), (N*K, D)
        used = torch.zeros_like(self.idle).index_fill_(0, self.nearest(latents).flatten(), 1.0)
        self.idle.add_(1.0).mul_(1.0 - used)
        dead = self.idle >= self.revive_after
        chosen = torch.randint(len(flat), (len(codebook),), device=flat.device)
        codebook.copy_(torch.where(dead.unsqueeze(1), flat[chosen], codebook))
        self.idle.mul_(~dead)
