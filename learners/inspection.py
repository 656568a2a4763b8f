"""Pictures of what the world model sees and imagines.

Legend: N frames, T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from learners.dataset import Dataset
from learners.nn.sampling import uniforms
from learners.world_model import WorldModel

NUM_FRAMES = 8
NUM_STEPS = 20


@dataclass(frozen=True)
class Pictures:
    originals: NDArray[np.uint8]  # (N, 3, 64, 64)
    reconstructions: NDArray[np.uint8]  # (N, 3, 64, 64), what the policy sees of them
    real: NDArray[np.uint8]  # (T, 3, 64, 64), consecutive frames of one episode
    imagined: NDArray[np.uint8]  # (T, 3, 64, 64), dreamt from the first of them under the same actions


@torch.no_grad()
def inspect(world_model: WorldModel, dataset: Dataset, generator: torch.Generator) -> Pictures:
    """Looks at the end of the longest of the last ten episodes."""
    lengths = dataset.episode_lengths()
    recent = range(max(0, len(lengths) - 10), len(lengths))
    episode = max(recent, key=lambda index: lengths[index])
    segment = dataset.last_segment(NUM_STEPS, ("frames", *world_model.dream_columns), episode=episode)
    frames = segment.columns["frames"][0]  # (T, 3, 64, 64)
    chosen = torch.linspace(0, len(frames) - 1, NUM_FRAMES).long()
    originals = frames[chosen.to(frames.device)]
    context = replace(
        segment,
        actions=segment.actions[:, :1],
        rewards=segment.rewards[:, :1],
        ends=segment.ends[:, :1],
        mask=segment.mask[:, :1],
        columns={name: column[:, :1] for name, column in segment.columns.items()},
    )
    noise = uniforms((NUM_STEPS, 1, world_model.noise_per_step), generator)
    dream = world_model.dream(context, noise)
    for t in range(len(frames) - 1):
        dream.step(segment.actions[:, t])
    return Pictures(
        originals=originals.cpu().numpy(),
        reconstructions=world_model.render(world_model.observe(originals)).cpu().numpy(),
        real=frames.cpu().numpy(),
        imagined=world_model.render(torch.cat(dream.features)).cpu().numpy(),
    )
