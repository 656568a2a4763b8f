"""Randomness as an argument: every draw comes from a stream named by what it is for.

A stream's key is a hash of (seed, purpose, indices), so it does not depend on what was drawn before it: a restarted
process draws exactly what the lost one drew.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch


@dataclass(frozen=True)
class Streams:
    """All random streams of one run."""

    seed: int

    def key(self, purpose: str, *indices: int) -> int:
        """63-bit key of the stream `purpose`[`indices`], e.g. key("world_model/noise", iteration, step)."""
        name = repr((self.seed, purpose, tuple(int(index) for index in indices))).encode()
        return int.from_bytes(blake2b(name, digest_size=8).digest(), "little") >> 1

    def numpy(self, purpose: str, *indices: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(self.key(purpose, *indices)))

    def torch(self, device: torch.device, purpose: str, *indices: int) -> torch.Generator:
        return torch.Generator(device).manual_seed(self.key(purpose, *indices))
