"""Classes predicted at every step of padded segments.

Legend: B batch, T positions, C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from learners.part import Mean, masked_mean


def classifier(size: int, classes: int) -> nn.Sequential:
    """Hidden states (..., size) -> logits (..., classes)."""
    return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, classes))


def cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Mean:
    """Of logits (B, T, C) and labels (B, T), where mask (B, T) is True."""
    return masked_mean(F.cross_entropy(logits.transpose(1, 2), labels, reduction="none"), mask)


def accuracy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Share of positions where the most likely class is the label; arguments as above."""
    return masked_mean((logits.argmax(dim=-1) == labels).float(), mask).value
