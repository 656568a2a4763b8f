"""Weights as one flat array of bytes: what travels to the collectors, and the cheapest thing to put into a store of
objects. Whatever a module holds is in it, integers and flags too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def flat_weights(modules: Mapping[str, nn.Module]) -> NDArray[np.uint8]:
    """All parameters and buffers of the modules, in the order of their names: (total,) bytes."""
    flat = [tensor.detach().cpu().reshape(-1).view(torch.uint8) for tensor in _tensors(modules)]
    return torch.cat([torch.empty(0, dtype=torch.uint8), *flat]).numpy()


@torch.no_grad()
def load_flat_weights(modules: Mapping[str, nn.Module], flat: NDArray[np.uint8]) -> None:
    """Copies `flat` into the modules. Raises ValueError if the sizes differ."""
    total = sum(tensor.nbytes for tensor in _tensors(modules))
    if len(flat) != total:
        raise ValueError(f"weights of another network: expected {total} bytes, found {len(flat)}")
    source, first = torch.from_numpy(flat.copy()), 0  # an array from an object store is read-only
    for tensor in _tensors(modules):
        mine = source[first : first + tensor.nbytes].clone()  # a number lies at a multiple of its size
        tensor.copy_(mine.view(tensor.dtype).view(tensor.shape))
        first += tensor.nbytes


def _tensors(modules: Mapping[str, nn.Module]) -> Iterator[Tensor]:
    """Those that have values: bytes of nothing cannot be viewed as another type."""
    for name in sorted(modules):
        yield from (tensor for tensor in modules[name].state_dict().values() if tensor.numel())
