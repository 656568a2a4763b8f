"""The dot slides along walls, passes doors alone, and reaches goals in another room."""

from __future__ import annotations

import numpy as np
import pytest

from actors.config import RoomsConfig
from actors.envs.check import check_environment
from actors.envs.rooms import LAYOUTS, Rooms, move


def rooms(layout: str = "two_rooms", *, evaluation: bool = True, seed: int = 0, **settings: object) -> Rooms:
    return Rooms(RoomsConfig.model_validate({"layout": layout, **settings}), seed, evaluation=evaluation)


def place(env: Rooms, x: float, y: float) -> None:
    env._position = np.array([x, y], dtype=float)


def go(env: Rooms, right: float, down: float) -> tuple[float, float]:
    env.step(np.array([right, down], np.float32))
    x, y = env._position.round(6).tolist()
    return x, y


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_keeps_what_environments_promise(layout: str):
    check_environment(RoomsConfig.model_validate({"layout": layout}))


def test_a_move_is_what_the_action_says_and_no_longer_than_the_reach():
    env = rooms(evaluation=False)
    env.reset()
    place(env, 10, 40)
    assert go(env, 1.5, -2.0) == (11.5, 38.0)
    x, y = go(env, 4.0, 4.0)
    assert np.hypot(x - 11.5, y - 38.0) == pytest.approx(4.0)


def test_walls_stop_one_axis_and_the_dot_slides_along():
    env = rooms(evaluation=False)
    env.reset()
    place(env, 29, 40)
    assert go(env, 2.0, 2.0) == (29.5, 42.0)
    place(env, 5, 58)
    assert go(env, -2.0, 2.0) == (4.0, 59.0)


def test_a_door_is_the_only_way_from_room_to_room():
    env = rooms(evaluation=False, training_steps=1000)
    env.reset()
    for y, passes in ((16, True), (21, True), (22, False), (40, False)):
        place(env, 28, y)
        xs = [go(env, 2.0, 0.0)[0] for _ in range(4)]
        assert (xs[-1] > 34.5) is passes


def test_the_dot_is_where_it_is_drawn_and_the_walls_have_a_hole():
    env = rooms(evaluation=False)
    env.reset()
    red, green, blue = env.draw(np.array([10.0, 40.0]))
    assert np.unravel_index(red.argmax(), red.shape) == (40, 10)
    assert red[40, 10] == 255
    assert not blue.any()
    assert (green[4:60, 32] == 0).sum() == 13  # y 10 to 22
    assert (green[40, 31:34] == 255).all()
    assert not green[40, [30, 34]].any()
    assert (green[3, 3:61] == 255).all()


def test_a_move_is_lost_or_happens_twice_as_often_as_it_is_said():
    env = rooms(evaluation=False, training_steps=5000, lost=0.3, doubled=0.1)
    env.reset()
    moved = []
    for _ in range(2000):
        place(env, 10, 40)
        moved.append(go(env, 1.5, -2.0))
    where = [(10.0, 40.0), (11.5, 38.0), (13.0, 36.0)]
    assert set(moved) == set(where)
    assert [moved.count(each) / 2000 for each in where] == pytest.approx([0.3, 0.6, 0.1], abs=0.04)
    assert RoomsConfig(lost=0.3).evaluation_protocol["moves"] == "0.3 lost, 0 doubled"
    assert "moves" not in RoomsConfig().evaluation_protocol
    check_environment(RoomsConfig(lost=0.3, doubled=0.1))
    with pytest.raises(ValueError, match=r"lost \+ doubled: found 1\.2, expected at most 1"):
        RoomsConfig(lost=0.7, doubled=0.5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_goal_is_in_another_room_and_reaching_it_ends_the_episode_with_reward_one(layout: str):
    env, walls = rooms(layout, evaluation_steps=500), LAYOUTS[layout].walls
    sides = set()
    for _ in range(20):
        env.reset()
        start, goal = env._position[0], env._goal[0]
        assert (start < walls[0].x) is (goal > walls[-1].x)
        sides.add(bool(start < goal))
        picture = env.goal()
        assert picture is not None
        x, y = env._goal
        assert np.hypot(*(np.unravel_index(picture[0].argmax(), picture[0].shape) - np.array([y, x]))) <= 1.0
    assert sides == {True, False}
    place(env, *(env._goal + np.array([3.0, 0.0])))
    step = env.step(np.zeros(2, np.float32))
    assert (step.reward, step.terminated, step.truncated) == (1.0, True, False)


def test_success_at_the_end_counts_the_last_step_alone():
    env = rooms(evaluation_steps=2, success="at the end")
    for stays, reward in ((True, 1.0), (False, 0.0)):
        env.reset()
        place(env, *env._goal)
        step = env.step(np.zeros(2, np.float32))
        assert not step.ended
        place(env, *(env._goal if stays else (4.0, 59.0)))
        step = env.step(np.zeros(2, np.float32))
        assert (step.reward, step.terminated, step.truncated) == (reward, stays, not stays)


def test_training_has_no_goal_no_reward_and_some_starts_near_a_door():
    env = rooms(evaluation=False, training_steps=3)
    starts = []
    for _ in range(200):
        env.reset()
        assert env.goal() is None
        starts.append(env._position)
        steps = [env.step(np.ones(2, np.float32)) for _ in range(3)]
        assert [step.truncated for step in steps] == [False, False, True]
        assert not any(step.reward or step.terminated for step in steps)
    near = np.mean([abs(x - 32) <= 8 and abs(y - 16) <= 5 for x, y in starts])
    assert 0.2 < near < 0.4  # a quarter, and who comes there by chance


def test_the_state_goes_on_identically_and_is_of_its_layout():
    env, other = rooms(), rooms(seed=1)
    env.reset()
    go(env, 1.0, 1.0)
    other.set_state(env.get_state())
    assert other.goal() is not None
    action = np.array([-1.0, 0.5], np.float32)
    assert (other.step(action).frame == env.step(action).frame).all()
    assert (other.reset() == env.reset()).all()
    with pytest.raises(ValueError, match="state of another layout: found two_rooms, expected pldm"):
        rooms("pldm").set_state(env.get_state())


def test_random_walls_stand_elsewhere_in_every_episode_and_in_its_state():
    env, other = rooms("three_rooms", walls="random"), rooms("three_rooms", walls="random", seed=1)
    seen = []
    for _ in range(50):
        env.reset()
        seen.append([(wall.x, wall.door) for wall in env.layout.walls])
        for wall, usual in zip(env.layout.walls, LAYOUTS["three_rooms"].walls, strict=True):
            assert abs(wall.x - usual.x) <= 6.0
            assert 9.0 <= wall.door <= 54.0
        green = env.draw(env.position)[1]
        first = env.layout.walls[0]
        assert not green[round(first.door), 4:30].any()  # through the door
        assert green[6 if first.door > 32 else 57, round(first.x)] == 255
    assert len({x for walls in seen for x, _ in walls}) == 100
    assert np.std([walls[0][1] for walls in seen]) > 8.0
    other.set_state(env.get_state())
    assert (other.draw(other.position) == env.draw(env.position)).all()
    assert (other.reset() == env.reset()).all()


def test_no_move_leaves_the_free_places():
    generator = np.random.default_rng(0)
    for layout in LAYOUTS.values():
        position = np.array([10.0, 40.0])
        for _ in range(2000):
            position = move(layout, position, generator.uniform(-6, 6, 2))
            assert layout.low <= position.min() <= position.max() <= layout.high
            assert not any(
                abs(position[0] - wall.x) < layout.half_width and abs(position[1] - wall.door) > layout.half_door
                for wall in layout.walls
            )
