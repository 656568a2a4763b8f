"""Rows of the planning benchmark: what is asked of each arm, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.planning import ARMS, GUARDRAILS, HORIZONS, SHORT, SPREADS, main
from pipeline.cli import parse

FLAGS = [
    *("--iterations", "1", "--collection.steps-per-iteration", "100", "--evaluation.final-episodes", "2"),
    *("--env.training-steps", "20", "--evaluation.envs-per-evaluator", "2"),
    *("--algorithm.world-model.training.steps-per-iteration", "2", "--algorithm.agent.planner.iterations", "1"),
    *("--algorithm.agent.planner.block-steps", "1"),
    *("--algorithm.heads.training.steps-per-iteration", "2", "--algorithm.decoder.training.steps-per-iteration", "2"),
]


def test_every_arm_is_a_run_that_there_is():
    configs = {arm: parse(line, "train").config for arm, line in ARMS.items()}
    assert {arm: config.game for arm, config in configs.items()} == {
        **dict.fromkeys(ARMS, "rooms"),
        **dict.fromkeys(["catch", "catch_policy", "catch_critic"], "catch"),
        "pusht": "gym_pusht:gym_pusht/PushT-v0",
    }


def test_the_criteria_are_measured_once_and_kept(tmp_path: Path):
    out = tmp_path / "planning.json"
    line = ["--seeds", "1", "--episodes", "2", "--runs", str(tmp_path / "runs"), "--out", str(out)]
    main([*line, "--arms", "vicreg", "--flags", *FLAGS, "--env.evaluation-steps", "8"])
    main([*line, "--arms", "three_rooms", "--flags", *FLAGS])
    main([*line, "--arms", "critic", "--flags", *FLAGS, "--algorithm.critic.training.steps-per-iteration", "2"])
    vicreg, three_rooms, critic = json.loads(out.read_text())["rows"]
    names = [way["name"] for way in vicreg["ways"]]
    assert names[:4] == ["random", "standing still", "cem 64 × 1, 8 × 1, sum", "cem 64 × 1, 8 × 1, last"]
    said = [name.partition("zones × ")[2] for name in names[4:]]
    assert said == [f"{weight:g} + {margin:g}" for weight, margin in GUARDRAILS]
    assert all("steps_in_zones" in way for way in vicreg["ways"] if "zones" in way["name"])
    assert set(vicreg["areas"]["reversed"].values()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert 0.0 < vicreg["features/mean_std"] < 5.0
    assert len(three_rooms["ways"]) == 2 + 2 * len(HORIZONS)
    plans = [f"cem 64 × 1, {blocks} × 1, sum" for blocks in SHORT]
    assert [way["name"] for way in critic["ways"][2:]] == [
        *(f"{name}{more}" for name in plans for more in ("", ", critic × 1")),
        "reflex, 1 × 1",
        *("cem 64 × 1, 6 × 1, sum", "cem 16 × 2, 6 × 1, sum", "cem 16 × 2 from reflex, 6 × 1, sum"),
    ]
    agent_flags = [*FLAGS, "--env.evaluation-steps", "12", "--algorithm.upper.training.steps-per-iteration", "2"]
    agent_flags += [
        "--algorithm.critic.training.steps-per-iteration",
        "2",
        "--algorithm.reflex.training.starts-after",
        "0",
    ]
    agent_flags += ["--algorithm.reflex.training.steps-per-iteration", "1", "--algorithm.upper.steps", "2"]
    main([*line, "--arms", "agent", "--flags", *agent_flags])
    main([*line, "--arms", "slip", "--flags", *FLAGS, "--env.evaluation-steps", "8"])
    agent, slip = json.loads(out.read_text())["rows"][3:]
    assert [way["name"] for way in agent["ways"][2:]] == [
        "cem 64 × 5, 3 × 1, sum",
        "mppi 64 × 5, 10 × 1, sum",
        "cem 64 × 5, 3 × 1, two levels, sum",
        *("cem 64 × 5, 1 × 1, sum, critic × 1", "cem 64 × 5, 3 × 1, sum, critic × 1"),
        *("reflex, 3 × 1", "reflex, 3 × 1, two levels"),
        "cem 16 × 1 from reflex, 3 × 1, two levels, sum, critic × 1",
    ]
    assert sum(slip["outcomes"]) == pytest.approx(1.0)
    said = [way["name"].partition("sum")[2] for way in slip["ways"][3:]]
    margins = [f", zones × 20 + {margin}" for margin in (0, 1, 2, 4)]
    assert said == [*margins, *(f", 4 outcomes + {spread:g}{margins[0]}" for spread in SPREADS)]
    before = out.read_bytes()
    main([*line, "--arms", "vicreg"])
    assert out.read_bytes() == before
