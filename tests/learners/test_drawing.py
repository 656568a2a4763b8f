"""Which segments are drawn, and what a drawing remembers. Row r of an episode is its r-th, counted from 1."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from learners.drawing import CountedDrawing, Episode


def episodes(*lengths: int, first: int = 7) -> list[Episode]:
    """Numbered from `first` on."""
    ends = np.cumsum(lengths)
    return [
        Episode(first + index, 0, np.arange(end - length, end) + 1)
        for index, (end, length) in enumerate(zip(ends, lengths, strict=True))
    ]


def draw(drawing: CountedDrawing, among: list[Episode], size: int, iteration: int = 1, seed: int = 0) -> np.ndarray:
    return drawing.draw(among, size, np.random.default_rng(seed), iteration=iteration)


def is_near(count: int, total: int, probability: float) -> bool:
    """Within four standard errors."""
    return abs(count - total * probability) < 4 * np.sqrt(total * probability * (1 - probability))


def test_a_segment_lies_anywhere_around_its_step_and_is_padded_on_both_sides():
    """In an episode of two steps: step t = 1 or 2, and the segment starts 0, 1 or 2 steps before it."""
    drawn = Counter(map(tuple, draw(CountedDrawing(3, alpha=1.0, padding="both"), episodes(2), 6_000).tolist()))
    thirds = {(1, 2, 0): 2, (0, 1, 2): 2, (0, 0, 1): 1, (2, 0, 0): 1}
    assert drawn.keys() == thirds.keys()
    assert all(is_near(drawn[segment], 6_000, sixth / 6) for segment, sixth in thirds.items())


def test_a_segment_padded_on_the_left_ends_with_its_episode_at_the_latest():
    """Of two steps: the segment stops 1, 2 or 3 steps after the one before t, but never beyond the episode."""
    drawn = Counter(map(tuple, draw(CountedDrawing(3, alpha=1.0, padding="left"), episodes(2), 6_000).tolist()))
    assert drawn.keys() == {(0, 0, 1), (0, 1, 2)}
    assert is_near(drawn[0, 0, 1], 6_000, 1 / 6)


@pytest.mark.parametrize(("alpha", "first"), [(0.0, 1 / 2), (1.0, 1 / 5), (2.0, 1 / 17)])
def test_an_episode_is_drawn_the_more_rarely_the_more_often_it_was(alpha: float, first: float):
    """Three times and never: weights 4^-α and 1."""
    drawing = CountedDrawing(1, alpha=alpha, padding="both")
    drawing.restore({"episodes": torch.tensor([7]), "times": torch.tensor([3])})
    rows = draw(drawing, episodes(1, 1), 4_000)
    assert is_near(int((rows == 1).sum()), 4_000, first)


def test_every_segment_counts_from_the_second_iteration_on():
    drawing = CountedDrawing(2, alpha=1.0, padding="both")
    draw(drawing, episodes(3, 4), 50)
    assert drawing.state()["episodes"].tolist() == []
    rows = draw(drawing, episodes(3, 4), 50, iteration=2)
    of_first = int(((rows > 0) & (rows <= 3)).any(axis=1).sum())
    assert dict(zip(*(each.tolist() for each in drawing.state().values()), strict=True)) == {
        7: of_first,
        8: 50 - of_first,
    }


def test_counts_follow_their_episode_when_others_are_lost():
    drawing = CountedDrawing(1, alpha=50.0, padding="both")
    drawing.restore({"episodes": torch.tensor([7, 8]), "times": torch.tensor([1, 9])})
    lost = episodes(2, 2, 2)[1:]  # 8, drawn nine times, and 9, drawn never
    assert set(draw(drawing, lost, 20).ravel()) <= set(lost[1].rows)


def test_episodes_can_be_drawn_whatever_alpha_and_counts_are():
    drawing = CountedDrawing(1, alpha=10_000.0, padding="both")
    drawing.restore({"episodes": torch.tensor([7, 8]), "times": torch.tensor([2, 3])})
    assert set(draw(drawing, episodes(1, 1), 20).ravel()) == {1}


def test_a_restored_drawing_draws_what_the_saved_one_would_have():
    saved, restored = (CountedDrawing(3, alpha=1.0, padding="left") for _ in range(2))
    draw(saved, episodes(5, 3, 8), 40, iteration=2)
    restored.restore(saved.state())
    expected = draw(saved, episodes(5, 3, 8), 200, iteration=3, seed=1)
    assert np.array_equal(draw(restored, episodes(5, 3, 8), 200, iteration=3, seed=1), expected)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"episodes": torch.tensor([1])},
        {"episodes": torch.tensor([1]), "times": torch.tensor([1.0])},
        {"episodes": torch.tensor([1]), "times": torch.tensor([1, 2])},
        {"episodes": torch.tensor([1, 1]), "times": torch.tensor([1, 2])},
        {"episodes": torch.tensor([1]), "times": torch.tensor([0])},
        {"episodes": torch.tensor(1), "times": torch.tensor(1)},
    ],
)
def test_counts_that_cannot_be_are_refused_and_change_nothing(state: dict[str, torch.Tensor]):
    drawing = CountedDrawing(1, alpha=1.0, padding="both")
    drawing.restore({"episodes": torch.tensor([7]), "times": torch.tensor([3])})
    with pytest.raises(ValueError, match=r"^state of another drawing|^counts of drawn episodes: expected each"):
        drawing.restore(state)
    assert drawing.state()["times"].tolist() == [3]
