"""Causal transformer (pre-norm GPT) with an optional key-value cache.

Legend: B batch, T new positions, P cached positions, E embedding, nh heads, hs = E / nh.
Source: Vaswani et al. (2017); Radford et al. (2019) for the pre-norm form.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.nn.config import TransformerSize
from learners.nn.key_value_cache import KeyValueCache
from learners.nn.precision import full_precision


class Transformer(nn.Module):
    """Embedded positions (B, T, E) -> hidden states (B, T, E); a position sees itself and what came before it."""

    def __init__(
        self,
        config: TransformerSize,
        *,
        activation: Callable[[], nn.Module] = nn.GELU,
        attention_bias: bool = True,
        final_norm: bool = True,
    ) -> None:
        """The defaults are GPT-2's: whether attention's four linear maps have biases, and hidden states are normed."""
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, activation, attention_bias) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.embedding_size) if final_norm else nn.Identity()

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """With a cache, `x` continues the cached sequence and is appended to it."""
        mask = None if cache is None else cache.mask(x.shape[1])  # (T, P + T)
        x = self.dropout(x)
        for index, block in enumerate(self.blocks):
            x = block(x, index, cache, mask)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.norm(x)

    def new_cache(self, batch_size: int, max_positions: int) -> KeyValueCache:
        device = next(self.parameters()).device
        # On a CPU attention from one position is 2.6 times slower in bfloat16 than in float32.
        half = device.type != "cpu" and torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if half else torch.float32
        return KeyValueCache(self.config, batch_size, max_positions, device=device, dtype=dtype)


class Block(nn.Module):
    def __init__(self, config: TransformerSize, activation: Callable[[], nn.Module], attention_bias: bool) -> None:
        super().__init__()
        size = config.embedding_size
        self.attention_norm = nn.LayerNorm(size)
        self.attention = SelfAttention(config, attention_bias)
        self.mlp_norm = nn.LayerNorm(size)
        self.mlp = nn.Sequential(
            nn.Linear(size, 4 * size), activation(), nn.Linear(4 * size, size), nn.Dropout(config.dropout)
        )

    def forward(self, x: Tensor, index: int, cache: KeyValueCache | None, mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), index, cache, mask)
        return x + self.mlp(self.mlp_norm(x))


class SelfAttention(nn.Module):
    def __init__(self, config: TransformerSize, bias: bool) -> None:
        super().__init__()
        size = config.embedding_size
        self.heads = config.heads
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(size, 3 * size, bias=bias)
        self.out = nn.Linear(size, size, bias=bias)
        self.out_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, index: int, cache: KeyValueCache | None, mask: Tensor | None) -> Tensor:
        batch, length, size = x.shape
        projected = self.query_key_value(x).view(batch, length, 3, self.heads, size // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (B, nh, T, hs)
        if cache is None:
            dropout = self.dropout if self.training else 0.0
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        else:
            key, value = cache.append(index, key, value)  # (B, nh, P + T, hs)
            with full_precision(x.device):
                attended = F.scaled_dot_product_attention(query.to(key.dtype), key, value, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(batch, length, size)  # (B, nh, T, hs) -> (B, T, E)
        return self.out_dropout(self.out(attended))


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for Linear and Embedding weights, zero biases: the GPT-2 initialisation, for `module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        torch.nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        torch.nn.init.zeros_(module.bias)


def initialise_by_fan_in(module: nn.Module) -> None:
    """N(0, 1/fan-in) for Linear weights, N(0, 1) for Embeddings, zero biases, for `module.apply`."""
    if isinstance(module, nn.Linear):
        torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
        torch.nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding):
        torch.nn.init.normal_(module.weight)
