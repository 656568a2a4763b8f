"""Legend as in fakes.make_chunk: frame k of episode e is filled with 10·e + k."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from learners import columns as columns_module
from learners.action_space import Box
from learners.config import DatasetConfig
from learners.dataset import Dataset
from learners.drawing import UniformDrawing
from learners.experience import Chunk
from learners.part import Derived, Segments
from tests.learners.fakes import ACTION_SPACE, drawn_from, make_chunk

CPU = torch.device("cpu")


def shade(steps: Segments) -> torch.Tensor:
    """What the last frame of each segment is filled with: (N,)."""
    return steps.columns["frames"][:, -1, 0, 0, 0].float()


DOUBLED = {"doubled": Derived("part", lambda steps: shade(steps) * 2.0)}


def dataset_of(*lengths: int, config: DatasetConfig | None = None, cache: bool = True) -> Dataset:
    dataset = Dataset(config or DatasetConfig(), CPU, ACTION_SPACE, DOUBLED, lambda part: 0, cache=cache)
    dataset.extend(make_chunk(lengths))
    return dataset


def sample(dataset: Dataset, batch_size: int, length: int, anchor: str, seed: int = 0) -> Segments:
    assert anchor in ("start", "end")
    return drawn_from(dataset, batch_size, length, anchor, ("frames", "doubled"), np.random.default_rng(seed))


def values(segments: Segments) -> np.ndarray:
    """What each frame is filled with: (B, T)."""
    return segments.columns["frames"][:, :, 0, 0, 0].numpy().astype(int)


def test_episodes_are_drawn_uniformly_whatever_their_length():
    segments = sample(dataset_of(1, 9, 5), 6_000, 1, "start")
    counts = np.bincount(values(segments)[:, 0] // 10, minlength=3)
    assert np.abs(counts - 2_000).max() < 4 * np.sqrt(6_000 * (1 / 3) * (2 / 3))


@pytest.mark.parametrize("anchor", ["start", "end"])
def test_the_anchor_is_uniform_in_its_episode(anchor: str):
    segments = sample(dataset_of(4), 8_000, 3, anchor)
    drawn = values(segments)[:, 0 if anchor == "start" else -1]
    counts = np.bincount(drawn, minlength=4)
    assert np.abs(counts - 2_000).max() < 4 * np.sqrt(8_000 * 0.25 * 0.75)


def test_a_start_anchored_segment_is_padded_on_the_right():
    for row, mask in zip(*_rows(sample(dataset_of(4), 50, 3, "start")), strict=True):
        first = row[0]
        assert mask.tolist() == [True, first + 1 < 4, first + 2 < 4]
        assert row.tolist() == [value if real else 0 for value, real in zip(range(first, first + 3), mask, strict=True)]


def test_an_end_anchored_segment_is_padded_on_the_left():
    for row, mask in zip(*_rows(sample(dataset_of(4), 50, 3, "end")), strict=True):
        last = row[-1]
        assert mask.tolist() == [last >= 2, last >= 1, True]
        assert row.tolist() == [
            value if real else 0 for value, real in zip(range(last - 2, last + 1), mask, strict=True)
        ]


def test_everything_is_zero_where_padded():
    segments = sample(dataset_of(2, 3), 40, 5, "start")
    padded = ~segments.mask
    assert padded.any()
    for column in (segments.actions, segments.rewards, segments.ends, *segments.columns.values()):
        assert not column[padded].any()


def test_segments_never_cross_episodes_that_interleave():
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, DOUBLED, lambda part: 0)
    first, second = make_chunk([4]), make_chunk([4], environment=1, first_episode=5)
    for start in (0, 2):  # two chunks of each environment, alternating
        for chunk in (first, second):
            piece = slice(start, start + 2)
            columns = ("frames", "actions", "rewards", "terminated", "truncated", "episodes", "episode_steps")
            dataset.extend(replace(chunk, start=start, **{name: getattr(chunk, name)[piece] for name in columns}))
    assert dataset.num_episodes == 2
    segments = sample(dataset, 60, 4, "end")
    for row, mask in zip(*_rows(segments), strict=True):
        real = row[mask]
        assert (np.diff(real) == 1).all()
        assert len(set(real // 10)) == 1


def test_the_unfinished_episode_is_sampled_and_grows():
    dataset = dataset_of(2, 3)
    longer = make_chunk([2, 6])
    columns = ("frames", "actions", "rewards", "terminated", "truncated", "episodes", "episode_steps")
    dataset.extend(replace(longer, **{name: getattr(longer, name)[5:] for name in columns}))
    assert dataset.num_steps == 8
    assert dataset.episode_lengths().tolist() == [2, 6]


def test_a_gap_in_an_episode_is_refused():
    dataset = dataset_of(2)
    with pytest.raises(ValueError, match="episode 0: expected its step 2 next, found step 0"):
        dataset.extend(make_chunk([3]))


@pytest.mark.parametrize("truncation_is_end", [True, False])
def test_truncation_counts_as_an_end_only_if_asked(truncation_is_end: bool):
    dataset = Dataset(DatasetConfig(truncation_is_end=truncation_is_end), CPU, ACTION_SPACE, {}, lambda part: 0)
    chunk = make_chunk([2])
    dataset.extend(replace(chunk, truncated=np.array([False, True])))
    segments = drawn_from(dataset, 20, 1, "start", ("frames",), np.random.default_rng(0))
    expected = (segments.columns["frames"][:, 0, 0, 0, 0] == 1) & truncation_is_end
    assert torch.equal(segments.ends[:, 0], expected)


def test_an_empty_dataset_cannot_be_sampled():
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, {}, lambda part: 0)
    with pytest.raises(ValueError, match="holds 0 steps"):
        drawn_from(dataset, 1, 1, "start", (), np.random.default_rng(0))


def test_derived_columns_are_computed_once_per_row_and_version():
    version, computed = 0, []

    def compute(steps: Segments) -> torch.Tensor:
        computed.extend(value for value in shade(steps).tolist() if value)  # 0 is the padding of a batch
        return shade(steps) + version

    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, {"column": Derived("part", compute)}, lambda part: version)
    dataset.extend(make_chunk([6], first_episode=1))
    draw = np.random.default_rng
    drawn_from(dataset, 64, 1, "start", ("column",), draw(0))
    computed.clear()
    drawn_from(dataset, 64, 1, "start", ("column",), draw(1))
    assert computed == []
    version = 7
    segments = drawn_from(dataset, 64, 1, "start", ("frames", "column"), draw(2))
    assert sorted(computed) == [10, 11, 12, 13, 14, 15]
    assert torch.equal(segments.columns["column"], segments.columns["frames"][:, :, 0, 0, 0].float() + 7)


def test_a_filled_column_is_not_computed_again():
    computed = []

    def compute(steps: Segments) -> torch.Tensor:
        computed.append(int((shade(steps) > 0).sum()))
        return shade(steps)

    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, {"column": Derived("part", compute)}, lambda part: 3)
    dataset.extend(make_chunk([130], first_episode=1))
    dataset.fill(("frames", "column"))
    assert sum(computed) == 130
    segments = drawn_from(dataset, 64, 9, "end", ("frames", "column"), np.random.default_rng(0))
    assert sum(computed) == 130
    assert torch.equal(segments.columns["column"], segments.columns["frames"][:, :, 0, 0, 0].float())


def test_a_column_of_a_column_follows_it_and_is_zero_where_padded():
    version, computed = 0, []

    def first(steps: Segments) -> torch.Tensor:
        computed.append(int((shade(steps) > 0).sum()))
        return shade(steps) + version

    def second(steps: Segments) -> torch.Tensor:
        return steps.columns["first"][:, 0] * 2 + 1

    columns = {"first": Derived("part", first), "second": Derived("part", second, sources=("first",))}
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, columns, lambda part: version)
    dataset.extend(make_chunk([6], first_episode=1))
    for version in (0, 5):
        segments = drawn_from(dataset, 64, 3, "start", ("frames", "second", "first"), np.random.default_rng(0))
        values = segments.columns["frames"][:, :, 0, 0, 0].float()
        assert torch.equal(segments.columns["second"], (2 * (values + version) + 1) * segments.mask)
    assert sum(computed) == 6 + 6  # each row once a version


def shades(steps: Segments) -> torch.Tensor:
    """What the frames of each segment are filled with, as one decimal number, two digits a step: (N,)."""
    each = steps.columns["frames"][:, :, 0, 0, 0].long()  # (N, W)
    return (each * 100 ** torch.arange(each.shape[1]).flip(0)).sum(dim=1) + 1_000_000 * steps.mask.sum(dim=1)


def windows(*lengths: int, at_padding: bool, cache: bool = True) -> Dataset:
    """With a column that reads three steps; frames are filled with 10, 11, … and 20, 21, …"""
    column = {"shades": Derived("part", shades, window=3, at_padding=at_padding)}
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, column, lambda part: 0, cache=cache)
    dataset.extend(make_chunk(lengths, first_episode=1))
    return dataset


@pytest.mark.parametrize("cache", [True, False])
def test_a_column_over_a_window_reads_the_steps_before_in_the_same_episode(cache: bool):
    dataset = windows(4, 2, at_padding=False, cache=cache)
    segments = dataset.gather(np.array([[1, 2, 3], [3, 4, 0], [0, 5, 6]]), ("shades",))
    assert segments.columns["shades"].tolist() == [
        [1_000010, 2_001011, 3_101112],
        [3_101112, 3_111213, 0],  # the first step of this segment is not the first of its episode
        [0, 1_000020, 2_002021],
    ]


@pytest.mark.parametrize("cache", [True, False])
def test_what_stands_at_padding_may_be_computed_too(cache: bool):
    """Before an episode nothing is known; after it, the steps that are still in the window."""
    dataset = windows(4, 1, at_padding=True, cache=cache)
    rows = np.array([[0, 0, 1, 2, 3], [4, 0, 0, 0, 0], [0, 5, 0, 0, 0]])
    assert dataset.gather(rows, ("shades",)).columns["shades"].tolist() == [
        [0, 0, 1_000010, 2_001011, 3_101112],
        [3_111213, 2_121300, 1_130000, 0, 0],
        [0, 1_000020, 1_002000, 1_200000, 0],
    ]


def test_windows_cross_no_gap_and_no_other_episode():
    """Two environments in turns, then steps 4 and 5 of the first one, whose step 3 is lost."""
    column = {"shades": Derived("part", shades, window=3)}
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, column, lambda part: 0)
    names = ("frames", "actions", "rewards", "terminated", "truncated", "episodes", "episode_steps")
    first, second = make_chunk([6], first_episode=1), make_chunk([4], environment=1, first_episode=2)
    for chunk, piece in ((first, slice(0, 1)), (second, slice(0, 2)), (first, slice(1, 3)), (first, slice(4, 6))):
        part = {name: getattr(chunk, name)[piece] for name in names}
        dataset.extend(replace(chunk, start=piece.start, **part), gaps=piece.start == 4)
    found = dataset.gather(np.array([[1, 4, 5], [2, 3, 0], [6, 7, 0]]), ("shades",)).columns["shades"]
    assert found.tolist() == [
        [1_000010, 2_001011, 3_101112],
        [1_000020, 2_002021, 0],
        [1_000014, 2_001415, 0],
    ]


def test_each_value_of_a_window_is_computed_once_and_anew_where_the_episode_has_grown():
    computed = []

    def compute(steps: Segments) -> torch.Tensor:
        computed.extend(value for value in shades(steps).tolist() if value)
        return shades(steps)

    dataset = Dataset(
        DatasetConfig(), CPU, ACTION_SPACE, {"x": Derived("part", compute, window=2, at_padding=True)}, lambda part: 0
    )
    whole = make_chunk([4], first_episode=1)
    names = ("frames", "actions", "rewards", "terminated", "truncated", "episodes", "episode_steps")
    for piece in (slice(0, 2), slice(2, 4)):
        dataset.extend(replace(whole, start=piece.start, **{name: getattr(whole, name)[piece] for name in names}))
        rows = np.array([[1, 2, *range(3, dataset.num_steps + 1), 0]])
        for _ in range(2):
            dataset.gather(rows, ("x",))
    assert computed == [1_000010, 2_001011, 1_001100, 2_001112, 2_001213, 1_001300]


def test_a_column_reads_windows_of_columns_and_actions():
    sums = Derived(
        "part",
        lambda steps: steps.columns["doubled"].sum(dim=1) + 1_000 * steps.actions[:, 0] * steps.mask[:, 0],
        sources=("doubled", "frames"),
        window=2,
    )
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, {"sums": sums, **DOUBLED}, lambda part: 0)
    chunk = make_chunk([4], first_episode=1)
    dataset.extend(chunk)
    found = dataset.gather(np.array([[1, 2, 3, 4]]), ("sums",)).columns["sums"][0]
    actions = torch.tensor(chunk.actions)
    assert found.tolist() == [20.0, *(torch.tensor([42.0, 46.0, 50.0]) + 1_000 * actions[:3]).tolist()]


def test_actions_of_a_box_are_gathered_as_they_are_and_zero_where_padded():
    dataset = Dataset(DatasetConfig(), CPU, Box((-1.0, 0.0), (1.0, 2.0)), {}, lambda part: 0)
    chunk = make_chunk([4, 2])
    chunk = replace(chunk, actions=np.random.default_rng(0).random((6, 2), dtype=np.float32))
    dataset.extend(chunk)
    found = dataset.gather(np.array([[1, 2, 3], [5, 6, 0]]), ()).actions
    assert (found.dtype, found.shape) == (torch.float32, (2, 3, 2))
    assert np.array_equal(found[0], chunk.actions[:3])
    assert np.array_equal(found[1, :2], chunk.actions[4:])
    assert not found[1, 2].any()
    assert dataset.step_bytes()["actions"] == 8


def test_rows_that_arrive_later_get_their_own_derived_values():
    dataset = dataset_of(3)
    sample(dataset, 32, 1, "start")
    dataset.extend(make_chunk([2_000], first_episode=1))
    segments = sample(dataset, 512, 1, "start")
    assert torch.equal(segments.columns["doubled"], segments.columns["frames"][:, :, 0, 0, 0].float() * 2)


def test_the_newest_steps_are_those_of_the_last_iteration_each_once():
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, {}, lambda part: 0)
    whole = make_chunk([4, 7, 2], first_episode=1)
    columns = ("frames", "actions", "rewards", "terminated", "truncated", "episodes", "episode_steps")
    for iteration, piece in ((1, slice(0, 6)), (2, slice(6, 10)), (2, slice(10, 13))):  # episode 2 from its step 2 on
        part = {name: getattr(whole, name)[piece] for name in columns}
        dataset.extend(replace(whole, iteration=iteration, start=piece.start, **part))
    assert dataset.newest_iteration == 2
    segments = dataset.gather(dataset.newest(3), ("frames",))
    assert values(segments).tolist() == [[22, 23, 24], [25, 26, 0], [30, 31, 0]]
    assert segments.mask.tolist() == [[True] * 3, [True, True, False], [True, True, False]]


def test_what_came_before_and_after_a_step_is_of_its_episode_alone():
    dataset = dataset_of(3)
    dataset.extend(make_chunk([5], first_episode=7, environment=1))
    assert dataset.until(np.array([2, 4, 8]), 3).tolist() == [[0, 1, 2], [0, 0, 4], [6, 7, 8]]
    assert dataset.since(2).tolist() == [2, 3]
    assert dataset.since(6).tolist() == [6, 7, 8]
    assert (dataset.row(0, 0), dataset.row(1, 4)) == (1, 8)
    for wrong in (0, 9):
        with pytest.raises(IndexError, match=f"found {wrong}, expected 1 to 8"):
            dataset.since(wrong)


def test_finished_episodes_are_the_newest_that_ended():
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, {}, lambda part: 0)
    dataset.extend(make_chunk([4, 7, 2, 3], first_episode=1))
    segments = dataset.gather(dataset.finished_episodes(2, 3), ("frames",))
    assert values(segments).tolist() == [[24, 25, 26], [30, 31, 0]]


def test_segments_are_named_as_the_store_knows_them():
    dataset = dataset_of(3)
    dataset.extend(make_chunk([5], first_episode=7, environment=1))
    assert dataset.names(np.array([[0, 1, 2], [5, 6, 7], [8, 0, 0]])) == ["0:0-1", "7:1-3", "7:4-4"]


def _rows(segments: Segments) -> tuple[np.ndarray, np.ndarray]:
    return values(segments), segments.mask.numpy()


def test_a_truncated_dataset_is_the_one_that_never_held_what_came_later():
    """Episode 1 runs on from iteration 1 into 2 and ends there."""
    first, second = make_chunk([4, 3], iteration=1), make_chunk([5, 2], iteration=2, first_episode=1)
    later = replace(second, episode_steps=second.episode_steps + 3 * (second.episodes == 1).astype(np.int32))
    other = replace(later, episodes=np.where(later.episodes == 2, 7, later.episodes))
    never, gone = (Dataset(DatasetConfig(), CPU, ACTION_SPACE, DOUBLED, lambda part: 0) for _ in range(2))
    never.extend(first)
    gone.extend(first)
    gone.extend(later)
    assert (gone.num_steps, gone.num_episodes, gone.newest_iteration) == (14, 3, 2)
    sample(gone, 50, 3, "start")
    gone.truncate(1)
    for dataset in (never, gone):
        assert (dataset.num_steps, dataset.num_episodes, dataset.newest_iteration) == (7, 2, 1)
        assert dataset.episode_lengths().tolist() == [4, 3]
        assert dataset.finished_episodes(9, 9).shape == (1, 9)
        assert dataset.newest(4)[dataset.newest(4) > 0].tolist() == list(range(1, 8))
        dataset.extend(other)
    rows = np.arange(1, never.num_steps + 1)[:, None]
    assert gone.names(rows) == never.names(rows)
    for anchor in ("start", "end"):
        drawn = [sample(dataset, 200, 3, anchor) for dataset in (never, gone)]
        for name in ("frames", "doubled"):
            assert torch.equal(drawn[0].columns[name], drawn[1].columns[name])
        assert torch.equal(drawn[0].rewards, drawn[1].rewards)


def test_an_episode_with_a_gap_is_two_and_no_segment_crosses_it():
    """Episode 0 has lost its steps 3 and 4, episode 1 its beginning."""
    whole = make_chunk([9, 4])
    kept = [_steps(whole, rows, iteration) for iteration, rows in enumerate(([0, 1, 2], [5, 6, 7, 8, 11, 12]), start=1)]
    dataset = Dataset(DatasetConfig(), CPU, ACTION_SPACE, DOUBLED, lambda part: 0)
    dataset.extend(kept[0])
    with pytest.raises(ValueError, match="episode 0: expected its step 3 next, found step 5"):
        dataset.extend(kept[1])
    dataset.truncate(1)
    dataset.extend(kept[1], gaps=True)
    assert dataset.episode_lengths().tolist() == [3, 4, 2]
    drawn = {tuple(row[mask]) for row, mask in zip(*_rows(sample(dataset, 300, 9, "end")), strict=True)}
    longest = [(0, 1, 2), (5, 6, 7, 8), (12, 13)]
    assert drawn == {piece[:end] for piece in longest for end in range(1, len(piece) + 1)}
    assert dataset.names(np.array([[1, 3], [4, 7], [8, 9]])) == ["0:0-2", "0:5-8", "1:2-3"]
    with pytest.raises(ValueError, match="episode 1: expected its step 4 next, found step 2"):
        dataset.extend(_steps(whole, [11, 12], 3), gaps=True)  # gaps, not doubles
    dataset.truncate(1)
    dataset.extend(_steps(whole, [3, 4], 2))  # goes on where the first part ended
    assert dataset.episode_lengths().tolist() == [5]


def _steps(chunk: Chunk, rows: list[int], iteration: int) -> Chunk:
    arrays = {name: value[rows] for name, value in vars(chunk).items() if isinstance(value, np.ndarray)}
    return replace(chunk, iteration=iteration, **arrays)


@pytest.mark.parametrize(("last_iteration", "left"), [(0, 0), (1, 7), (2, 7), (9, 7)])
def test_truncating_keeps_whole_iterations(last_iteration: int, left: int):
    dataset = dataset_of(4, 3)
    dataset.truncate(last_iteration)
    assert dataset.num_steps == left
    assert dataset.newest_iteration == (1 if left else 0)


@pytest.mark.parametrize("at_padding", [True, False])
@pytest.mark.parametrize("room", [1, 3, 7, 1000])
def test_a_column_with_little_room_has_the_values_of_one_with_all_it_needs(
    monkeypatch: pytest.MonkeyPatch, room: int, at_padding: bool
):
    """Also of a column of that column, in a growing dataset, and where one batch asks for more than there is room."""
    monkeypatch.setattr(columns_module, "CACHE_BYTES", 8 * room)
    version, rng, steps = 0, np.random.default_rng(room), make_chunk([4, 1, 7, 9, 2, 6], first_episode=1)

    def of_columns(found: Segments) -> torch.Tensor:
        return found.columns["shades"].sum(dim=1) * 3 + found.mask.sum(dim=1)

    derived = {
        "shades": Derived("part", lambda found: shades(found) + version, window=3, at_padding=at_padding),
        "second": Derived("part", of_columns, sources=("shades",), window=2),
    }
    frames = np.concatenate([np.zeros((1, 3, 64, 64), np.uint8), steps.frames])
    what = DatasetConfig(), CPU, ACTION_SPACE, derived, lambda part: version
    little, plenty = Dataset(*what, read_frames=lambda rows: frames[rows]), Dataset(*what, cache=False)
    for iteration in (1, 2, 3):
        chunk = _steps(steps, [*range(10 * iteration - 10, min(10 * iteration, len(steps)))], iteration)
        plenty.extend(chunk)
        little.extend(replace(chunk, frames=chunk.frames[:0]))
        for gradient_steps in (0, 1, 0):
            version += gradient_steps
            for drawing in (UniformDrawing(4, "start"), UniformDrawing(1, "end"), UniformDrawing(6, "end")):
                rows = plenty.draw(drawing, 3, rng, iteration=iteration)
                expected, found = (each.gather(rows, ("second", "shades", "frames")) for each in (plenty, little))
                for name, column in expected.columns.items():
                    assert torch.equal(found.columns[name], column), (name, rows)
