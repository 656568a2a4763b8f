"""Settings of networks that several algorithms use."""

from __future__ import annotations

from typing import Self

from pydantic import PositiveInt, model_validator

from learners.config import Config, Probability


class TransformerSize(Config):
    """A causal transformer; the defaults are those of IRIS."""

    layers: PositiveInt = 10
    heads: PositiveInt = 4
    embedding_size: PositiveInt = 256
    dropout: Probability = 0.1
    """On embeddings, attention and residuals; only in its own training."""

    @model_validator(mode="after")
    def _heads_divide_embedding(self) -> Self:
        if self.embedding_size % self.heads:
            raise ValueError(f"heads must divide embedding_size: found {self.heads} and {self.embedding_size}")
        return self
