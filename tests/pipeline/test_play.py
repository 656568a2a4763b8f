"""The command finds a run, says where its page is, and ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession, WSMsgType

from learners.directory_lock import DirectoryLock
from pipeline import verify
from pipeline.errors import UsageError
from pipeline.play import SHIPPED, main, newest_run
from pipeline.train import main as train
from pipeline.trained import load
from pipeline.viewer.scenes import Dreamt, Game, Recorded, SideBySide
from pipeline.viewer.settings import Settings
from tests.pipeline.scores.runs import write_run
from tests.pipeline.test_end_to_end import ENVIRONMENT, ROOT


def test_the_run_that_committed_last_is_taken(tmp_path: Path):
    older, newer, begun = (write_run(tmp_path / "runs", "Pong", seed) for seed in range(3))
    for seconds, run in ((1000, older), (2000, newer), (3000, begun)):
        os.utime(run / "checkpoints", (seconds, seconds))
    assert newest_run(tmp_path / "runs") == begun
    for checkpoint in (begun / "checkpoints").iterdir():
        checkpoint.rename(begun / checkpoint.name)  # as if it had never committed
    assert newest_run(tmp_path / "runs") == newer
    assert newest_run(tmp_path) == newer  # one level deeper, as sweeps lie
    assert newest_run(older) == older


def test_a_run_in_training_is_passed_over_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    older, newer = (write_run(tmp_path / "runs", "Pong", seed) for seed in range(2))
    for seconds, run in ((1000, older), (2000, newer)):
        os.utime(run / "checkpoints", (seconds, seconds))
    lock = DirectoryLock.to_write(newer)
    assert newest_run(tmp_path / "runs") == older
    assert capsys.readouterr().out == f"passed over, because it is in training: {newer}\n"
    lock.release()
    assert newest_run(tmp_path / "runs") == newer


def test_without_a_run_the_shipped_agent_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert newest_run(Path("runs")) == SHIPPED
    with pytest.raises(UsageError, match=r"^RUN_DIR: found no run at .* or below it, expected one with a commit"):
        newest_run(tmp_path / "elsewhere")


def test_the_shipped_agent_is_a_whole_run_that_catches_in_the_game_and_in_its_dream():
    assert verify.main([str(SHIPPED)]) == 0
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) <= 5_000_000
    trained = load(SHIPPED)
    game, dream = Game(trained, Settings(1.0), seed=0), Dreamt(trained, Settings(1.0, horizon=20), seed=0)
    for scene, least in ((game, 0.7), (dream, 0.3)):  # a dream may start where the ball cannot be reached any more
        scores = [view.score for view in (scene.step(None) for _ in range(300)) if view.ended]
        assert len(scores) >= 12
        assert np.mean(scores) > least, scores


def test_a_stored_episode_is_shown_to_its_last_reward_and_a_dream_beside_it_as_far():
    trained = load(SHIPPED)
    dataset = trained.learner.dataset
    for episode in range(3, 6):
        row = dataset.row(episode, 0)
        length = len(dataset.since(row))
        for scene in (Recorded(trained, row), SideBySide(trained, Settings(1.0), 0, row)):
            views = [scene.step(None) for _ in range(length)]
            assert [view.ended for view in views] == [False] * (length - 1) + [True]
            assert [view.step for view in views] == list(range(1, length + 1))
            assert [view.score for view in views[:-1]] == [0.0] * (length - 1)
            assert abs(views[-1].score) == 1.0  # caught or not, which nothing but the last step tells
            assert all(view.action in (0, 1, 2) for view in views)
            assert len(views[-1].errors) in (0, length)
            assert scene.step(None).step == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--port", "70000"], r"^--port: found 70000, expected .*65535$"),
        (["--port", "http"], r"^--port: found 'http', expected"),
        (["nowhere"], r"^RUN_DIR: found no run at nowhere"),
        (["a", "b"], r"^found 'b', expected a flag there or nothing"),
    ],
)
def test_a_mistake_is_one_line(line: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        main(line)


def test_it_serves_a_page_until_it_is_told_to_end(tmp_path: Path):
    run = tmp_path / "run"
    assert train(["delta-iris-debug", "--in-process", "--run-dir", str(run)]) == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    line = [sys.executable, "-m", "pipeline.play", str(run)]
    process = subprocess.Popen(
        line, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        said = [process.stdout.readline() for _ in range(4)]
        (link,) = re.findall(r"^open (http://127\.0\.0\.1:\d+/\?token=\S{30,})$", "".join(said), re.M)
        with urllib.request.urlopen(link, timeout=60) as page:
            assert b"<title>iris-ray</title>" in page.read()
        said_last = asyncio.run(play_until(link, lambda: process.send_signal(signal.SIGINT)))
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert said_last == (1001, "python -m pipeline.play has ended")  # to who still plays
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


async def play_until(link: str, end: Callable[[], None]) -> tuple[int | None, str]:
    """Code and words with which the server says goodbye after `end`, called once pictures come."""
    async with ClientSession() as session, session.ws_connect(link.replace("/?", "/play?")) as socket:
        while (message := await asyncio.wait_for(socket.receive(), 60)).type != WSMsgType.BINARY:
            pass
        end()
        while (message := await asyncio.wait_for(socket.receive(), 60)).type == WSMsgType.BINARY:
            pass
        return socket.close_code, str(message.extra)
