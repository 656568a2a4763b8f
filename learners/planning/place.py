"""Where something is in a frame, and how deep inside what is forbidden.

Legend: N frames, Z zones; places are (x, y) in pixels of a frame, x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from learners.planning.config import Colour

CHANNELS: dict[Colour, int] = {"red": 0, "green": 1, "blue": 2}


def centre_of_mass(frames: Tensor, colour: Colour) -> tuple[Tensor, Tensor]:
    """Of one colour of frames (..., 3, H, W) uint8: places (..., 2), and whether there is any of it (...)."""
    mass = frames[..., CHANNELS[colour], :, :].float()
    total = mass.sum(dim=(-2, -1))
    x, y = (
        (mass.sum(dim=across) * torch.arange(mass.shape[along], device=mass.device)).sum(dim=-1)
        for across, along in ((-2, -1), (-1, -2))
    )
    return torch.stack([x, y], dim=-1) / total.clamp(min=1.0).unsqueeze(-1), total > 0


def depth_in(zones: Sequence[float], places: Tensor) -> Tensor:
    """Pixels (...) that places (..., 2) are inside of the zone they are deepest in; below 0 outside of all.

    Zones are discs: x, y and radius of one after another.
    """
    discs = torch.tensor(zones, dtype=places.dtype, device=places.device).unflatten(0, (-1, 3))  # (Z, 3)
    distances = (places.unsqueeze(-2) - discs[:, :2]).norm(dim=-1)  # (..., Z)
    return (discs[:, 2] - distances).amax(dim=-1)
