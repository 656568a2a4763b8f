"""The command of the sequence task: what it says and leaves, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import RunFailedError, UsageError
from pipeline.toy import main

QUICK = ["--sequences", "100", "--epochs", "2"]


def test_both_networks_are_trained_compared_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*QUICK, "--seeds", "3", "--out", str(tmp_path / "toy")]) == 0
    table = json.loads((tmp_path / "toy" / "table.json").read_text())
    conv, attention = table["rows"]
    assert [(row["network"], row["seed"], row["parameters"]) for row in table["rows"]] == [
        ("conv", 3, 62_337),
        ("attention", 3, 54_081),
    ]
    assert table["settings"]["training"]["sequences"] == 100
    assert conv["same_pair_mass"] is None
    assert 0.0 < attention["same_pair_mass"] < 1.0
    for row in table["rows"]:
        assert len(row["test_errors"]) == len(row["losses"]) == 2
        assert row["test_errors"][-1] == row["test_error"] < row["test_errors"][0]
        assert row["test_error"] - row["clean_error"] == pytest.approx(0.0075, abs=0.01)
    assert (tmp_path / "toy" / "toy.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "attention, seed 3: epoch 2/2 | test error " in said
    assert f"attention       3      54,081{attention['test_error']:>12.4f}" in said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--out", "/dev/null"], "--out: found no place for a directory at /dev/null"),
        (["--networks"], "--networks"),
        (["--networks", "gpt"], "--networks: found 'gpt', expected"),
        (["--epochs", "0"], "--epochs: found"),
    ],
)
def test_what_cannot_be_done_is_one_line(flags: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        main([*QUICK, *flags])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_diverges_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from learners.toy import training

    def diverges(*_: object) -> None:
        raise training.DivergedError("loss is nan in epoch 1")

    monkeypatch.setattr(training, "train", diverges)
    with pytest.raises(RunFailedError, match=r"^conv, seed 0: loss is nan in epoch 1$"):
        main(["--out", str(tmp_path / "toy")])
