"""Where something is, and how deep in a zone, by hand."""

from __future__ import annotations

import pytest
import torch

from learners.planning.place import centre_of_mass, depth_in


def test_a_centre_of_mass_is_that_of_its_colour_and_may_be_nowhere():
    frames = torch.zeros(3, 3, 64, 64, dtype=torch.uint8)
    frames[0, 0, 10, 20] = 200  # row 10, column 20: x = 20, y = 10
    frames[1, 0, 10, 20], frames[1, 0, 30, 40] = 50, 150
    frames[:, 1] = 255
    places, is_there = centre_of_mass(frames, "red")
    assert places[:2].tolist() == [[20.0, 10.0], [35.0, 25.0]]
    assert is_there.tolist() == [True, True, False]
    green, _ = centre_of_mass(frames, "green")
    assert green.tolist() == [[31.5, 31.5]] * 3


def test_a_depth_is_that_in_the_zone_that_is_deepest():
    zones = (10.0, 10.0, 4.0, 20.0, 10.0, 5.0)
    places = torch.tensor([[[10.0, 10.0], [20.0, 13.0]], [[15.0, 10.0], [10.0, 20.0]]])
    assert depth_in(zones, places).flatten().tolist() == pytest.approx([4.0, 2.0, 0.0, -6.0])
