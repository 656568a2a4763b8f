"""A causal transformer over blocks of positions, each of which is one step of an episode.

Legend: B batch, n new positions, E embedding.
"""

from __future__ import annotations

from torch import Tensor, nn

from learners.nn.config import BlockTransformerSize
from learners.nn.key_value_cache import KeyValueCache
from learners.nn.transformer import Transformer, initialise, initialise_by_fan_in


class BlockTransformer(nn.Module):
    """What world models that are such a transformer have in common; embeddings and heads are their own."""

    def __init__(self, size: BlockTransformerSize, block_size: int) -> None:
        """`block_size`: positions of a block."""
        super().__init__()
        self._size = size
        self.block_size = block_size

    @property
    def max_positions(self) -> int:
        return self._size.max_blocks * self.block_size

    def add_transformer(self) -> None:
        """Between a subclass's embeddings and its heads, because weights are drawn in that order."""
        size = self._size.embedding_size
        if self._size.positions == "joint":
            self.position_embedding = nn.Embedding(self.max_positions, size)
        else:
            self.block_embedding = nn.Embedding(self._size.max_blocks, size)
            self.slot_embedding = nn.Embedding(self.block_size, size)
        self.transformer = Transformer(self._size)

    def initialise(self) -> None:
        """Once a subclass has all its layers."""
        self.apply(initialise if self._size.initialisation == "gpt2" else initialise_by_fan_in)

    def advance(self, embedded: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Hidden states (B, n, E) of n embedded positions (B, n, E) that continue the cached ones."""
        first = 0 if cache is None else cache.length
        return self.transformer(embedded + self.positions()[first : first + embedded.shape[1]], cache)

    def positions(self) -> Tensor:
        """(max_positions, E)."""
        if self._size.positions == "joint":
            return self.position_embedding.weight
        return (self.block_embedding.weight.unsqueeze(1) + self.slot_embedding.weight).flatten(0, 1)
