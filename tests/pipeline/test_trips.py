"""Trips: played to their ends, drawn over each other, counted in zones."""

from __future__ import annotations

import numpy as np
import torch

from actors.config import RoomsConfig
from pipeline.trips import Trips, random_play, standing_still


class Told:
    """Places are where they were put."""

    def places_in(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        places = torch.tensor([[10.0 + step, 20.0] for step in range(len(frames))])
        return places, torch.arange(len(frames)) != 1


def begun(count: int) -> Trips:
    environments = [RoomsConfig(evaluation_steps=3).build(seed, evaluation=True) for seed in range(count)]
    return Trips.begin(environments)


def test_everyone_is_played_to_its_end():
    trips = begun(3)
    space = trips.environments[0].action_space
    assert len(trips.goals) == 3
    trips.play(random_play(space, np.random.default_rng(0)))
    assert trips.steps.tolist() == [3, 3, 3]
    assert trips.scores.tolist() == [0.0, 0.0, 0.0]
    assert trips.seconds > 0
    still = begun(2)
    still.play(standing_still(space))  # type: ignore[arg-type]
    assert all((frame == frames[0]).all() for frames in still.frames for frame in frames)


def test_steps_in_zones_are_those_of_frames_in_which_anything_is():
    trips = begun(2)
    trips.play(standing_still(trips.environments[0].action_space))  # type: ignore[arg-type]
    # After the first, second and third step it is at x = 10, nowhere, and 12.
    assert trips.steps_in((10.0, 20.0, 1.5), Told()) == 1.0  # type: ignore[arg-type]
    assert trips.steps_in((11.0, 20.0, 1.5), Told()) == 2.0  # type: ignore[arg-type]
    assert trips.steps_in((30.0, 20.0, 1.5), Told()) == 0.0  # type: ignore[arg-type]


def test_a_trail_shows_all_places_the_goal_and_the_edges_of_zones():
    trips = begun(1)
    trips.play(lambda frames: np.array([[4.0, 0.0]], np.float32))
    (plain,), (zoned,) = trips.trails(), trips.trails((20.0, 40.0, 5.0))
    for frame in trips.frames[0]:
        assert (plain[0] >= frame[0]).all()
    goal = trips.goals[0][0]
    assert (plain[1] >= goal).all()
    assert zoned[2, 40, 25] == zoned[2, 45, 20] == 255
    assert zoned[2, 40, 20] == plain[2, 40, 20]
