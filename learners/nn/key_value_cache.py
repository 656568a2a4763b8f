"""Keys and values of the positions a transformer has already seen, allocated once."""

from __future__ import annotations

import torch
from torch import Tensor

from learners.nn.config import TransformerSize


class KeyValueCache:
    """Legend: L layers, B batch, nh heads, P positions cached so far, T new ones, hs features per head."""

    def __init__(
        self,
        config: TransformerSize,
        batch_size: int,
        max_positions: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        head_size = config.embedding_size // config.heads
        shape = (config.layers, batch_size, config.heads, max_positions, head_size)
        self._keys = torch.zeros(shape, device=device, dtype=dtype)
        self._values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0
        """P; a host integer, so that reading it never waits for the device."""

    @property
    def max_positions(self) -> int:
        return self._keys.shape[3]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores (B, nh, T, hs) behind the cached ones; all of them, (B, nh, P + T, hs)."""
        end = self.length + keys.shape[2]
        if end > self.max_positions:
            raise ValueError(f"cache holds {self.max_positions} positions, found {end}")
        self._keys[layer, :, :, self.length : end] = keys
        self._values[layer, :, :, self.length : end] = values
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def mask(self, length: int) -> Tensor | None:
        """Causal mask (T, P + T), True where attention is allowed; None where all of it is (one new position)."""
        if length == 1:
            return None
        allowed = torch.ones(length, self.length + length, dtype=torch.bool, device=self._keys.device)
        return allowed.tril(diagonal=self.length)

    def advance(self, length: int) -> None:
        self.length += length

    def clear(self) -> None:
        self.length = 0
