"""Two small networks on sequences: one that sees no further than ten samples, and one that attends.

Legend: N sequences, L samples, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learners.toy.config import ToyNetworkConfig

KERNEL = 5


class Attention(nn.Module):
    """y_t = Σ_s A[t, s] v_s, A = softmax over s of q_t · k_s; q, k and v are linear in each sample."""

    def __init__(self, channels: int, *, scale: bool = False) -> None:
        """With `scale`, q · k is divided by √C."""
        super().__init__()
        self.query, self.key, self.value = (nn.Conv1d(channels, channels, 1, bias=False) for _ in range(3))
        self._factor = channels**-0.5 if scale else 1.0

    def weights(self, x: Tensor) -> Tensor:
        """A (N, L, L), rows sum to 1, of x (N, C, L)."""
        return (self._factor * self.query(x).transpose(1, 2) @ self.key(x)).softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, L)."""
        return self.value(x) @ self.weights(x).transpose(1, 2)


class ToyNetwork(nn.Module):
    """Inputs (N, 1, L) to outputs (N, 1, L); inputs are shifted and scaled by numbers that it keeps."""

    def __init__(self, config: ToyNetworkConfig, position_bits: int, mean: float, std: float) -> None:
        super().__init__()
        channels = config.channels
        self._bits = position_bits if config.positions == "binary" else 0

        def convolution(before: int, after: int) -> nn.Conv1d:
            return nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2)

        self.attention = Attention(channels, scale=config.scale) if config.kind == "attention" else None
        first = [convolution(1 + self._bits, channels), nn.ReLU(), convolution(channels, channels), nn.ReLU()]
        further = [convolution(channels, channels), nn.ReLU()] if self.attention is None else []
        self.before = nn.Sequential(*first, *further)
        self.after = nn.Sequential(convolution(channels, channels), nn.ReLU(), convolution(channels, 1))
        self.mean, self.std = nn.Buffer(torch.tensor(mean)), nn.Buffer(torch.tensor(std))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.before(self._prepared(inputs))
        return self.after(hidden if self.attention is None else self.attention(hidden))

    def attends(self, inputs: Tensor) -> Tensor:
        """(N, L, L): how much each sample, by row, reads from each, by column. Raises ValueError without attention."""
        if self.attention is None:
            raise ValueError("found a network without attention, expected one with")
        return self.attention.weights(self.before(self._prepared(inputs)))

    def _prepared(self, inputs: Tensor) -> Tensor:
        if self._bits:
            places = torch.arange(inputs.shape[-1], device=inputs.device)
            bits = (places >> torch.arange(self._bits, device=inputs.device)[:, None]) & 1  # (bits, L)
            inputs = torch.cat([inputs, bits.to(inputs.dtype).expand(len(inputs), -1, -1)], dim=1)
        return (inputs - self.mean) / self.std
