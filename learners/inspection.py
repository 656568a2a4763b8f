"""A look at every part on its own, because a curve of scores does not say which part is broken.

All of it is measured before an iteration trains, on the steps it has just collected: no part has seen them.

Legend: N, M frames, T steps; frames are (3, 64, 64) uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from learners.actor_critic import ActorCritic
from learners.calibration import Calibration, calibrate
from learners.dataset import Dataset
from learners.dream_error import DreamError, measure_dreams
from learners.nn.sampling import uniforms
from learners.world_model import WorldModel

NUM_FRAMES = 8
NUM_STEPS = 20
MAX_HELD_OUT = 256
"""Steps."""


@dataclass(frozen=True)
class Pictures:
    originals: NDArray[np.uint8]  # (N, 3, 64, 64)
    reconstructions: NDArray[np.uint8]  # (N, 3, 64, 64), what the policy sees of them
    real: NDArray[np.uint8]  # (T, 3, 64, 64), consecutive frames of one episode
    imagined: NDArray[np.uint8]  # (T, 3, 64, 64), dreamt from the first of them under the same actions


@dataclass(frozen=True)
class Inspection:
    metrics: dict[str, float]
    pictures: Pictures
    dreams: DreamError | None
    """None if no new step was collected."""
    calibration: Calibration | None
    """None before the first episode has ended."""


@torch.no_grad()
def inspect(
    world_model: WorldModel,
    actor_critic: ActorCritic,
    dataset: Dataset,
    discount: float,
    iteration: int,
    generator: torch.Generator,
) -> Inspection:
    """Every part in evaluation mode and as it is; `discount` is that of the values."""
    metrics: dict[str, float] = {}
    dreams = None
    if dataset.newest_iteration == iteration:
        metrics |= held_out(world_model, dataset, generator)
        dreams = measure_dreams(world_model, dataset, generator)
        metrics |= dreams.metrics()
    calibration = calibrate(world_model, actor_critic, dataset, discount)
    if calibration:
        metrics |= calibration.metrics()
    return Inspection(metrics, take_pictures(world_model, dataset, generator), dreams, calibration)


def held_out(world_model: WorldModel, dataset: Dataset, generator: torch.Generator) -> dict[str, float]:
    """Losses and metrics of the world model's parts on the newest steps, as `held_out/<part>/<name>`.

    All of them are one batch; of more than `MAX_HELD_OUT`, so many, evenly spread.
    """
    metrics = {}
    for part in world_model.parts:
        rows = dataset.newest(part.length)
        kept = np.linspace(0, len(rows) - 1, min(len(rows), max(1, MAX_HELD_OUT // part.length))).astype(int)
        rows = rows[kept]
        losses = part.loss(dataset.gather(rows, part.columns), part.draw_noise(len(rows), generator))
        terms = {f"loss/{name}": term.value for name, term in losses.terms.items()}
        metrics |= {f"held_out/{part.name}/{name}": float(value) for name, value in {**terms, **losses.metrics}.items()}
    return metrics


def take_pictures(world_model: WorldModel, dataset: Dataset, generator: torch.Generator) -> Pictures:
    """Of the end of the longest of the last ten episodes."""
    lengths = dataset.episode_lengths()
    recent = range(max(0, len(lengths) - 10), len(lengths))
    episode = max(recent, key=lambda index: lengths[index])
    segment = dataset.last_segment(NUM_STEPS, ("frames", *world_model.dream_columns), episode=episode)
    frames = segment.columns["frames"][0]  # (T, 3, 64, 64)
    chosen = torch.linspace(0, len(frames) - 1, NUM_FRAMES).long()
    originals = frames[chosen.to(frames.device)]
    noise = uniforms((NUM_STEPS, 1, world_model.noise_per_step), generator)
    dream = world_model.dream(segment.until(1), noise)
    for t in range(len(frames) - 1):
        dream.step(segment.actions[:, t])
    return Pictures(
        originals=originals.cpu().numpy(),
        reconstructions=world_model.render(world_model.observe(originals)).cpu().numpy(),
        real=frames.cpu().numpy(),
        imagined=world_model.render(torch.cat(dream.features)).cpu().numpy(),
    )
