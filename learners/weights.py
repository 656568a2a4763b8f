"""Weights as one flat array: what travels to the collectors, and the cheapest thing to put into an object store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def pack(modules: Mapping[str, nn.Module]) -> NDArray[np.float32]:
    """All parameters and buffers of the modules, in the order of their names: (total,) float32."""
    return torch.cat([tensor.detach().reshape(-1).cpu() for tensor in _tensors(modules)]).numpy()


@torch.no_grad()
def unpack(modules: Mapping[str, nn.Module], flat: NDArray[np.float32]) -> None:
    """Copies `flat` into the modules. Raises ValueError if the sizes differ."""
    total = sum(tensor.numel() for tensor in _tensors(modules))
    if len(flat) != total:
        raise ValueError(f"weights of another network: expected {total} numbers, found {len(flat)}")
    source, first = torch.from_numpy(flat.copy()), 0  # an array from an object store is read-only
    for tensor in _tensors(modules):
        tensor.copy_(source[first : first + tensor.numel()].view(tensor.shape))
        first += tensor.numel()


def _tensors(modules: Mapping[str, nn.Module]) -> Iterator[Tensor]:
    for name in sorted(modules):
        for tensor in modules[name].state_dict().values():
            if tensor.dtype != torch.float32:
                raise TypeError(f"{name}: expected float32 weights, found {tensor.dtype}")
            yield tensor
