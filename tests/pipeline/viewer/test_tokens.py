"""Tokens that are told of frames as they come are those that training reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.viewer import tokens
from pipeline.viewer.scenes import Dreamt, Game, Recorded, SideBySide
from pipeline.viewer.settings import Settings
from tests.pipeline.viewer.fakes import PRESETS, trained


@pytest.mark.parametrize("preset", [PRESETS["iris"], PRESETS["delta-iris"]])
def test_every_picture_of_what_the_agent_sees_has_its_tokens(tmp_path: Path, preset: str):
    agent = trained(tmp_path / "run", preset)
    dataset = agent.learner.dataset
    rows = dataset.since(dataset.row(0, 0))
    steps = dataset.gather(rows[None], ("frames", "tokens"))
    stored = steps.columns["tokens"][0].tolist()
    assert len({tuple(each) for each in stored}) > 1, "an untrained tokenizer that tells nothing apart"

    episode, led = tokens.Episode(agent), [None, *steps.actions[0].tolist()]
    assert [episode.of(steps.columns["frames"][0, k].numpy(), led[k]) for k in range(len(rows))] == stored

    recorded = Recorded(agent, int(rows[0]))
    views = [recorded.view(), *(recorded.step(None) for _ in rows[1:])]
    assert [view.tokens["what happened"] for view in views] == stored

    beside = SideBySide(agent, Settings(1.0), seed=0, row=int(rows[0]))
    views = [beside.view(), *(beside.step(None) for _ in rows[1:])]
    assert [view.tokens["what happened"] for view in views] == stored
    assert all(len(view.tokens["the dream, same actions"]) == len(stored[0]) for view in views)

    assert len(Game(agent, Settings(1.0), seed=0).view().tokens["what the agent sees"]) == len(stored[0])
    dream = Dreamt(agent, Settings(1.0), seed=0)
    dream.step(0)
    first = dream.view().tokens["the dream"]
    assert len(first) == len(stored[0])
    assert any(dream.step(0).tokens["the dream"] != first for _ in range(5))
