"""A planning agent is compared with itself and its floors; its surprise is measured; what cannot be is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.config import CatchConfig, RoomsConfig
from learners.durable import TEMPORARY_SUFFIX
from learners.planning.plans import Plans
from pipeline import plan, surprise
from pipeline.comparison import Comparison
from pipeline.detection import detect
from pipeline.errors import UsageError
from pipeline.evaluate import main as evaluate
from pipeline.evaluation import read
from pipeline.out_directory import check_out_directory
from pipeline.play import SHIPPED
from pipeline.report.__main__ import main as report
from pipeline.train import main as train
from pipeline.trained import load
from pipeline.trips import Trips
from pipeline.verify import main as verify


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    assert train(["jepa-debug", "--in-process", "--run-dir", str(path)]) == 0
    return path


def table(path: Path) -> Any:
    return json.loads((path / "table.json").read_text())


def test_a_table_has_floors_and_a_row_for_each_way_to_plan(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    line = [
        str(run),
        "--episodes",
        "3",
        "--planners",
        "cem",
        "mppi",
        "reflex",
        "--samples",
        "8",
        "4",
        "--levels",
        "1",
        "2",
        "--costs",
        "critic=0",
        "critic=0.5",
        "--outcomes",
        "1",
        "--zones",
        "32",
        "32",
        "60",
    ]
    assert plan.main([*line, "--out", str(tmp_path / "out")]) == 0
    found = table(tmp_path / "out")
    names = [row["name"] for row in found["rows"]]
    assert names[:4] == ["random", "standing still", "reflex, 2 × 2", "reflex, 2 × 2, two levels"]
    assert names[4] == "cem 8 × 2, 2 × 2, sum"
    assert names[5:7] == ["cem 8 × 2, 2 × 2, sum, zones × 20 + 0", "cem 8 × 2, 2 × 2, sum, critic × 0.5"]
    assert names[7:9] == ["cem 8 × 2, 2 × 2, sum, critic × 0.5, zones × 20 + 0", "cem 8 × 2, 2 × 2, two levels, sum"]
    assert names[12] == "cem 4 × 2, 2 × 2, sum"
    assert len(names) == 4 + 2 * 2 * 2 * 2 * 2
    assert "steps at most 6" in found["protocol"]
    # The zone is the whole frame, and steps are 6 at most.
    assert [row["steps_in_zones"] for row in found["rows"][2:]] == [row["steps_mean"] for row in found["rows"][2:]]
    said = capsys.readouterr().out
    assert [name for name in names if f"{name:<32} score " not in said] == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "table.json",
        "distances.png",
        "ways.png",
        "episode.png",
        "episode.gif",
    }
    assert plan.main([*line, "--out", str(tmp_path / "again")]) == 0
    for row in (again := table(tmp_path / "again"))["rows"] + found["rows"]:
        del row["milliseconds_per_step"]
    assert again == found
    assert plan.main([*line, "--seed", "1", "--out", str(tmp_path / "out")]) == 0  # over its own files
    assert table(tmp_path / "out")["protocol"] != found["protocol"]


def test_outcomes_are_compared_with_every_weight_of_their_spread(run: Path, tmp_path: Path):
    line = [str(run), "--episodes", "2", "--levels", "1", "--costs", "critic=0", "--out", str(tmp_path)]
    assert plan.main([*line, "--outcomes", "1", "2", "--spreads", "0", "0.5"]) == 0
    plain = "cem 8 × 2, 2 × 2, sum"
    names = [row["name"] for row in table(tmp_path)["rows"][2:]]
    assert names == [plain, f"{plain}, 2 outcomes + 0", f"{plain}, 2 outcomes + 0.5"]


def test_a_cost_is_put_together_and_stands_in_its_row(run: Path, tmp_path: Path):
    line = [str(run), "--episodes", "2", "--levels", "1", "--out", str(tmp_path)]
    assert plan.main([*line, "--costs", "critic=2, goal=0,action=0.5", "critic=0,goal=1"]) == 0
    rows = table(tmp_path)["rows"][2:]
    ways = "cem 8 × 2, 2 × 2, sum"
    more = "2 outcomes + 0.5"
    assert [row["name"] for row in rows] == [f"{ways}, goal × 0, action × 0.5, critic × 2, {more}", f"{ways}, {more}"]
    assert [rows[0]["cost"][term] for term in ("goal", "action", "critic", "end")] == [0.0, 0.5, 2.0, 0.0]
    assert rows[0]["planner"]["levels"] == 1


def test_an_evaluation_says_what_its_episodes_give_to_who_does_not_look(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    line = [str(run), "--in-process", "--episodes", "4", "--out", str(tmp_path / "evaluation.json")]
    assert evaluate(line) == 0
    found = read(tmp_path / "evaluation.json")
    assert list(found.floors) == ["random", "standing still"]
    acts_by = "cem 8 × 2, 2 × 2, two levels, sum, critic × 1, 2 outcomes + 0.5"
    trained = read(run / "scores.json")
    assert found.protocol["acts by"] == trained.protocol["acts by"] == acts_by
    assert "acts by" not in read(SHIPPED / "scores.json").protocol
    assert f"; random {found.floors['random']:.2f}; standing still 0.00; each of them: " in capsys.readouterr().out


def test_surprise_is_told_for_every_tampering(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert surprise.main([str(run), "--episodes", "3", "--steps", "5", "--out", str(tmp_path / "out")]) == 0
    areas = table(tmp_path / "out")["areas"]
    assert list(areas) == ["teleport", "vanish", "wall", "reversed", "frozen"]
    for each in areas.values():
        assert list(each) == [f"{what}, {who}" for who in ("trained", "untrained") for what in ("surprise", "change")]
        assert all(0 <= area <= 1 for area in each.values())
    assert "frozen    surprise, trained 0" in capsys.readouterr().out
    assert (tmp_path / "out" / "surprise.png").exists()


def test_in_a_game_of_which_nobody_says_what_cannot_be_there_is_no_surprise(run: Path):
    trained = load(run)
    elsewhere = replace(trained, config=trained.config.model_copy(update={"env": CatchConfig()}))
    assert isinstance(trained.learner.algorithm, Plans)
    with pytest.raises(UsageError, match=r"^catch: found a game of which nobody says what cannot be, expected rooms$"):
        detect(elsewhere, trained.learner.algorithm, episodes=2, steps=5, seed=0)


def test_where_moves_slip_there_is_no_surprise(run: Path):
    trained = load(run)
    elsewhere = replace(trained, config=trained.config.model_copy(update={"env": RoomsConfig(lost=0.3)}))
    with pytest.raises(
        UsageError, match=r"^rooms: found moves that slip, expected none \(env\.lost and env\.doubled 0\)"
    ):
        detect(elsewhere, trained.plans, episodes=2, steps=5, seed=0)


@pytest.mark.parametrize("main", [plan.main, surprise.main])
def test_what_does_not_plan_is_refused(main: Any, tmp_path: Path):
    with pytest.raises(UsageError, match=r"^iris: found an algorithm that does not plan, expected one that does$"):
        main([str(SHIPPED), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--zones", "1", "2"], r"zones: found 2 numbers, expected three of each zone"),
        (["--zones", "1", "2", "-3"], r"zones: found .*, expected finite numbers, and radii above 0"),
        (
            ["--outcomes", "1", "--spreads", "0", "0.5"],
            r"^--spreads: found 0\.5, expected --outcomes above 1 beside it",
        ),
        (["--planners", "luck"], r"--planners: .*luck"),
        (["--costs", "gaol=1"], r"^--costs: cost: found the term 'gaol', expected one of goal, action, smoothness"),
        (["--costs", "goal"], r"^--costs: found 'goal', expected a term and its weight, as goal=1$"),
        (["--costs", "goal=-1"], r"^--costs: cost: found goal = -1, expected 0 to 1,000,000$"),
        (["--costs", "goal=inf"], r"^--costs: cost: found goal = inf, expected 0 to 1,000,000$"),
        (["--costs", "goal=1,goal=2"], r"^--costs: found 'goal' twice in 'goal=1,goal=2', expected it once$"),
        (["--costs", "goal=0,critic=0", "--levels", "1"], r"^cost: found every weight 0, expected one above 0$"),
        (["--costs", "goal=0", "--levels", "2"], r"^planner\.levels: found 2, expected 1 without a weight of the goal"),
        (["--costs", "goal=2", "--planners", "reflex"], r"^--costs: found 'goal=2', expected none of a reflex"),
        (["--episodes", "0"], r"--episodes: "),
        (["--samples", "1000000000000"], r"--samples.*: found 1000000000000, expected less than or equal to 100000"),
        (
            ["--samples", "100000", "--blocks", "1000"],
            r"samples or restarts × predictions of each: found 400,000,000, ex",
        ),
        (
            ["--blocks", "4"],
            r"^blocks × block_steps: found a plan of 8 steps, expected at most 6, those of the longest",
        ),
        (["--out", "/dev/null"], r"--out: found no place for a directory at /dev/null, expected none yet, or one of"),
        (["--out", "{full}"], r"--out: found no place for a directory at .*full, expected none yet, or one of this"),
    ],
)
def test_what_cannot_be_planned_is_one_line_and_leaves_nothing(run: Path, flags: list[str], says: str, tmp_path: Path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "somebody's").touch()
    flags = [flag.format(full=full) for flag in flags]
    before = sorted(run.rglob("*"))
    with pytest.raises(UsageError, match=says) as refused:
        plan.main([str(run), *flags])
    assert "\n" not in str(refused.value)
    assert sorted(run.rglob("*")) == before
    assert [path.name for path in full.iterdir()] == ["somebody's"]


def test_a_plan_that_memory_does_not_hold_is_one_line(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def too_much(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Trips, "play", too_much)
    trained = load(run)
    compared = Comparison(trained, trained.plans, episodes=3, seed=0)
    with pytest.raises(
        UsageError, match=r"^3 episodes × 8 samples × 4 steps × 2 outcomes: found too little memory for a plan"
    ):
        compared.play(trained.plans.planner, trained.plans.cost)


def test_what_a_kill_left_unfinished_is_written_over(tmp_path: Path):
    (tmp_path / f"table{TEMPORARY_SUFFIX}").touch()
    check_out_directory(tmp_path)
    (tmp_path / "table.json").touch()
    check_out_directory(tmp_path)
    check_out_directory(tmp_path / "not" / "yet")


def test_a_game_is_planned_in_through_every_command(tmp_path: Path):
    """`jepa-atari` in a small size: trained, looked at, scored, verified, reported."""
    run, out = tmp_path / "run", tmp_path / "out"
    small = {
        "world-model": {"features": 16, "hidden": 16, "channels": 16, "rollout": 2},
        "heads": {"hidden": 16},
        "critic": {"hidden": 16, "steps": 3},
    }
    flags = [f"--algorithm.{part}.{name}={value}" for part, each in small.items() for name, value in each.items()]
    for part in ("world-model", "heads", "decoder", "critic"):
        training = f"--algorithm.{part}.training"
        flags += [f"{training}.starts-after=0", f"{training}.steps-per-iteration=2", f"{training}.batch-size=4"]
    flags += ["--algorithm.agent.planner.samples=4", "--algorithm.agent.planner.elites=2"]
    flags += ["--env.evaluation-max-frames=80", "--collection.steps-per-iteration=20", "--iterations=2"]
    flags += ["--evaluation.envs-per-evaluator=2", "--evaluation.final-episodes=2"]
    assert train(["jepa-atari", "--in-process", "--run-dir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert metrics["critic/loss/value"] > 0
    assert plan.main([str(run), "--episodes", "2", "--costs", "critic=0", "critic=1", "--out", str(out)]) == 0
    names = [row["name"].partition(", sum, ")[2] for row in table(out)["rows"][1:]]
    assert names == ["goal × 0, reward × 1", "goal × 0, reward × 1, critic × 1"]
    assert evaluate([str(run), "--in-process", "--episodes", "2"]) == 0
    assert verify([str(run)]) == 0
    assert report([str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    with pytest.raises(UsageError, match=r"^cost: found goal 1, expected 0 in a game that sets no goals$"):
        plan.main([str(run), "--costs", "goal=1,critic=0", "--out", str(out)])
