from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from actors.config import CatchConfig
from actors.envs.catch import BALL, PADDLE, Catch

LEFT, STAY, RIGHT = range(3)
EIGHT = CatchConfig(rows=8, columns=8)  # cells of 8 × 8 pixels


def cells(frame: NDArray[np.uint8], colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """(row, column) of every 8 × 8 cell of this colour; every cell must be of one colour."""
    corners = frame[:, ::8, ::8]
    np.testing.assert_array_equal(frame, corners.repeat(8, axis=1).repeat(8, axis=2))
    return [(int(r), int(c)) for r, c in np.argwhere((corners == np.array(colour)[:, None, None]).all(axis=0))]


def test_the_ball_starts_in_the_top_row_and_the_paddle_in_the_middle_of_the_bottom_row():
    frame = Catch(EIGHT, 0).reset()
    assert (frame.shape, frame.dtype) == ((3, 64, 64), np.uint8)
    ((row, _),) = cells(frame, BALL)
    assert row == 0
    assert cells(frame, PADDLE) == [(7, 4)]
    assert (frame != 0).any(axis=0).sum() == 2 * 8 * 8  # the rest is black


def test_the_ball_falls_one_row_a_step_while_the_paddle_moves_one_column():
    board = Catch(EIGHT, 0)
    ((_, column),) = cells(board.reset(), BALL)
    for row, (action, paddle) in enumerate([(LEFT, 3), (LEFT, 2), (STAY, 2), (RIGHT, 3)], start=1):
        step = board.step(action)
        assert (step.reward, step.terminated, step.truncated) == (0.0, False, False)
        assert cells(step.frame, BALL) == [(row, column)]
        assert cells(step.frame, PADDLE) == [(7, paddle)]


def test_the_paddle_stops_at_the_border():
    for action, paddle in ((LEFT, 0), (RIGHT, 7)):
        board = Catch(EIGHT, 0)
        board.reset()
        steps = [board.step(action) for _ in range(5)]
        assert cells(steps[-1].frame, PADDLE) == [(7, paddle)]


@pytest.mark.parametrize("aim", [True, False])
def test_a_caught_ball_is_rewarded_with_1_and_a_lost_one_with_minus_1_after_rows_minus_1_steps(aim: bool):
    board = Catch(EIGHT, 1)
    for _ in range(20):
        ((_, ball),) = cells(board.reset(), BALL)
        goal = ball if aim else (ball + 4) % 8
        paddle, rewards, ended = 4, [], False
        while not ended:
            move = int(np.sign(goal - paddle))
            paddle += move
            step = board.step(STAY + move)
            rewards.append(step.reward)
            ended = step.terminated
        assert rewards == [0.0] * 6 + [1.0 if aim else -1.0]


def test_the_ball_starts_in_every_column_equally_often():
    board = Catch(CatchConfig(), 0)
    starts = Counter()
    for _ in range(500):
        starts[int(board.reset()[0, 0].argmax()) // 12] += 1  # columns of 12 or 13 pixels, the first is red's first
    assert sorted(starts) == [0, 1, 2, 3, 4]
    assert min(starts.values()) > 70  # 100 each in expectation, standard deviation 9


def test_the_published_board_covers_the_whole_frame():
    board = Catch(CatchConfig(), 0)  # 10 × 5
    frame = board.reset()
    assert (frame[:, -6:] != 0).any(axis=(0, 1)).sum() in (12, 13)
    assert frame[:, -7:, 25:38].any(axis=0).all()  # paddle: row 9 from pixel 57, column 2 of 5 from 25 to 38
    assert not frame[:, 7:57].any()


def test_seeds_decide_and_are_independent():
    def columns(seed: int) -> list[int]:
        board = Catch(EIGHT, seed)
        return [cells(board.reset(), BALL)[0][1] for _ in range(20)]

    assert columns(5) == columns(5)
    assert columns(5) != columns(6)


def test_steps_outside_an_episode_and_unknown_actions_are_refused():
    board = Catch(CatchConfig(rows=2), 0)
    with pytest.raises(RuntimeError, match="reset"):
        board.step(STAY)
    board.reset()
    with pytest.raises(ValueError, match=r"found 3, expected 0\.\.2"):
        board.step(3)
    assert board.step(STAY).terminated
    with pytest.raises(RuntimeError, match="reset"):
        board.step(STAY)


@pytest.mark.parametrize("board", [{"rows": 1}, {"rows": 65}, {"columns": 0}, {"columns": 65}])
def test_a_board_without_a_fall_or_with_cells_smaller_than_a_pixel_is_refused(board: dict[str, int]):
    with pytest.raises(ValidationError, match=r"Input should be (greater|less) than or equal to"):
        CatchConfig.model_validate(board)


def test_the_state_of_another_board_is_refused():
    with pytest.raises(ValueError, match="found 8 × 8, expected 10 × 5"):
        Catch(CatchConfig(), 0).set_state(Catch(EIGHT, 0).get_state())
