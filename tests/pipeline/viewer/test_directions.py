"""An agent that plans is told where to go and where not, and does it; who cannot be told, or not there, is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.play import SHIPPED
from pipeline.trained import Trained, load
from pipeline.viewer.mind import Mind, ways_of
from pipeline.viewer.visit import MODES, Command, Mode, Visit
from tests.pipeline.viewer.fakes import header_of, trained


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("run") / "run", "jepa-debug")


@pytest.fixture(params=["agent in the game", "agent in the dream"])
def visit(request: pytest.FixtureRequest, planner: Trained) -> Visit:
    visit = Visit(planner)
    visit.obey(Command(mode=request.param))
    return visit


def picture(message: bytes | None, name: str) -> np.ndarray:
    """(64, 64, 3)."""
    names = header_of(message)["pictures"]
    assert message
    pixels = np.frombuffer(message[-len(names) * 64 * 64 * 3 :], np.uint8).reshape(-1, 64, 64, 3)
    return pixels[names.index(name)]


def test_a_goal_is_where_it_was_put_and_the_agent_aims_there(visit: Visit):
    message = visit.obey(Command(goal=(50.0, 40.0)))
    assert header_of(message)["note"] == ""
    red = picture(message, "the goal")[..., 0]
    assert np.unravel_index(red.argmax(), red.shape) == (40, 50)
    mind = getattr(visit._scene, "_mind")  # noqa: B009 - private
    assert isinstance(mind, Mind)
    goal = mind._state.goal
    visit.obey(Command(goal=(10.0, 40.0)))
    assert not torch.equal(goal, mind._state.goal)


def test_zones_stay_over_episodes_until_they_are_taken_back(visit: Visit):
    def kept_out_of() -> tuple[float, ...]:
        return getattr(visit._scene, "_mind")._actor._costs.weights.zones  # noqa: B009 - private

    assert header_of(visit.obey(Command(zones=(20.0, 16.0, 5.0))))["zones"] == [20.0, 16.0, 5.0]
    assert kept_out_of() == (20.0, 16.0, 5.0)
    for _ in range(10):  # over an episode's end
        visit.advance()
    visit.obey(Command(mode="agent in the game"))
    assert kept_out_of() == (20.0, 16.0, 5.0)
    assert header_of(visit.obey(Command(zones=())))["zones"] == []
    assert kept_out_of() == ()


def test_how_it_plans_is_switched_and_said(visit: Visit):
    header = header_of(visit.look())
    assert (header["kind"], header["levels"], header["weights"]["critic"]) == ("cem", 2, 1.0)
    assert set(header["costs"]) == {"goal", "critic"}
    assert header["doubt"] >= 0
    header = header_of(visit.obey(Command(levels=1, weights={"critic": 0.0, "action": 0.5})))
    assert (header["note"], header["levels"], header["weights"]["action"]) == ("", 1, 0.5)
    assert getattr(visit._scene, "_mind")._state.plan is None  # noqa: B009 - private
    header = header_of(visit.advance())
    assert "its strides" not in header["pictures"]
    assert set(header["costs"]) == {"goal", "action"}
    header = header_of(visit.obey(Command(kind="shooting")))
    assert (header["kind"], header["levels"]) == ("shooting", 1)
    header = header_of(visit.obey(Command(mode="agent in the game")))
    assert (header["kind"], header["levels"], header["weights"]["critic"]) == ("shooting", 1, 0.0)


def test_who_is_told_to_aim_again_goes_for_the_goal_that_is_shown(visit: Visit):
    visit.obey(Command(levels=1, weights={"goal": 0.0, "critic": 0.0, "action": 1.0}))
    mind = getattr(visit._scene, "_mind")  # noqa: B009 - private
    assert mind._state.goal is None
    visit.obey(Command(goal=(50.0, 40.0)))
    for _ in range(10):  # over an episode's end
        header_of(visit.advance())
    visit.obey(Command(goal=(50.0, 40.0)))
    assert header_of(visit.obey(Command(weights={"goal": 1.0})))["note"] == ""
    mind = getattr(visit._scene, "_mind")  # noqa: B009 - private
    assert mind._state.goal is not None
    assert "goal" in header_of(visit.advance())["costs"]


def test_what_is_switched_where_nobody_acts_is_kept(visit: Visit):
    visit.obey(Command(mode="stored episodes"))
    assert header_of(visit.obey(Command(kind="shooting", levels=1)))["kind"] == "shooting"
    assert header_of(visit.obey(Command(mode="agent in the game")))["levels"] == 1
    assert set(header_of(visit.advance())["costs"]) == {"goal", "critic"}


def test_it_is_offered_what_it_can_do_and_has_learnt(planner: Trained):
    ways = ways_of(planner)
    assert ways == {
        "kinds": ["cem", "mppi", "shooting", "gradient", "reflex"],
        "levels": [1, 2],
        "terms": ["action", "smoothness", "reward", "end", "goal", "critic"],
    }
    assert ways_of(load(Path(SHIPPED))) is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            Command(weights={"gaol": 1.0}),
            "term: found gaol, expected one of action, smoothness, reward, end, goal, critic",
        ),
        (Command(weights={"goal": -1.0}), "cost: found goal = -1, expected 0 to 1,000,000"),
        (Command(weights={"goal": 1e300}), "cost: found goal = 1e+300, expected 0 to 1,000,000"),
        (Command(levels=1, weights={"goal": 0.0, "critic": 0.0}), "cost: found every weight 0, expected one above 0"),
        (Command(weights={"goal": 0.0}), "planner.levels: found 2, expected 1 without a weight of the goal's distance"),
        (Command(kind="reflex", weights={"goal": 2.0}), "planner reflex: found another cost than it was taught by"),
    ],
)
def test_a_way_that_cannot_be_is_said_and_changes_nothing(visit: Visit, wrong: Command, says: str):
    before = header_of(visit.look())
    header = header_of(visit.obey(wrong))
    assert says in header["note"]
    assert [header[name] for name in ("kind", "levels", "weights")] == [
        before[name] for name in ("kind", "levels", "weights")
    ]
    assert header_of(visit.advance())["step"] == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Command(goal=(32.0, 40.0)), "goal: found a wall at (32, 40), expected a place where the dot can be"),
        (Command(zones=(1.0, 2.0)), "zones: found 2 numbers, expected three of each zone: x, y and radius"),
        (Command(zones=(1.0, 2.0, 0.0)), "zones: found (1.0, 2.0, 0.0), expected finite numbers, and radii above 0"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(visit: Visit, wrong: Command, says: str):
    header = header_of(visit.obey(wrong))
    assert (header["note"], header["zones"]) == (says, [])
    assert header_of(visit.advance())["step"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_who_cannot_be_told_goes_on(mode: Mode):
    visit = Visit(load(Path(SHIPPED)))
    visit.obey(Command(mode=mode))
    for command in (Command(goal=(50.0, 40.0)), Command(zones=(20.0, 16.0, 5.0)), Command(levels=2)):
        assert header_of(visit.obey(command))["note"] == ""
        visit.advance()
