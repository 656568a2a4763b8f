"""A look at dreams and at the policy that learns in them: how far they stray, what they show, what values are worth.

Legend: N frames, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from learners.dataset import Dataset
from learners.dreaming.actor_critic import ActorCritic
from learners.dreaming.calibration import calibrate
from learners.dreaming.dream import DrawnDreams
from learners.dreaming.dream_error import measure_dreams
from learners.inspection import Chart, Film, Grid, Inspection, Panel, Picture
from learners.nn.sampling import uniforms
from learners.part import Segments

NUM_FRAMES = 8
NUM_STEPS = 20


@torch.no_grad()
def inspect_dreams(
    world_model: DrawnDreams,
    actor_critic: ActorCritic,
    dataset: Dataset,
    discount: float,
    iteration: int,
    generator: torch.Generator,
) -> Inspection:
    """Everything in evaluation mode and as it is; `discount` is that of the values."""
    metrics: dict[str, float] = {}
    panels: list[Panel] = []
    if dataset.newest_iteration == iteration:
        dreams = measure_dreams(world_model, dataset, generator)
        metrics |= dreams.metrics()
        panels.append(dreams.panel())
    if calibration := calibrate(world_model, actor_critic, dataset, discount):
        metrics |= calibration.metrics()
        panels.append(calibration.panel())
    pictures = take_pictures(world_model, dataset, generator)
    return Inspection(metrics, pictures | ({"measurements": Chart(panels)} if panels else {}))


def longest_recent(dataset: Dataset, columns: Sequence[str]) -> Segments:
    """The end (1, T) of the longest of the last ten episodes, of at most `NUM_STEPS` steps."""
    lengths = dataset.episode_lengths()
    recent = range(max(0, len(lengths) - 10), len(lengths))
    return dataset.last_segment(NUM_STEPS, columns, episode=max(recent, key=lambda index: lengths[index]))


def take_pictures(world_model: DrawnDreams, dataset: Dataset, generator: torch.Generator) -> dict[str, Picture]:
    """Of the end of the longest of the last ten episodes: frames above what the policy sees of them, and what really
    happened beside a dream of it under the same actions."""
    segment = longest_recent(dataset, ("frames", *world_model.dream_columns))
    frames = segment.columns["frames"][0]  # (T, 3, 64, 64)
    chosen = torch.linspace(0, len(frames) - 1, NUM_FRAMES).long()
    originals = frames[chosen.to(frames.device)]  # (N, 3, 64, 64)
    noise = uniforms((NUM_STEPS, 1, world_model.noise_per_step), generator)
    dream = world_model.dream(segment.until(1))
    for t in range(len(frames) - 1):
        dream.step(segment.actions[:, t], noise[t])
    seen = world_model.render(world_model.observe(originals))
    imagined = world_model.render(torch.cat(dream.features))
    return {
        "observations": Grid([originals.cpu().numpy(), seen.cpu().numpy()]),
        "imagination": Film([frames.cpu().numpy(), imagined.cpu().numpy()]),
    }
