"""Whole societies in seconds: whatever stops them, they end the same; what is damaged or impossible is one line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import ray

import cluster.this_process
from cluster.errors import LostError
from cluster.process import Placement
from cluster.ray_processes import RayProcess, RayProcesses
from learners.quizzes.learner import QuizLearner
from pipeline.errors import RunFailedError, UsageError
from pipeline.play import SHIPPED, newest_run
from pipeline.progress import Reporter
from pipeline.quizzes.__main__ import main
from pipeline.quizzes.config import QuizzesConfig, presets
from pipeline.quizzes.directory import SocietyDirectory
from pipeline.quizzes.page import page
from pipeline.quizzes.society import Society
from pipeline.quizzes.start import shares
from pipeline.records import read_records
from pipeline.scores.finished_runs import read_runs
from pipeline.stop import StopSignals
from pipeline.verify import main as verify_run
from tests.faults.hostile_files import vouch_for
from tests.faults.local import Crash, failing_disk

SAME = ["quizzes-debug", "--in-process", "--run-dir"]


def play(path: Path, *flags: str) -> None:
    assert main([*SAME, str(path), *flags]) == 0


def digest(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["verify", str(path), "--digest"]) == 0
    return capsys.readouterr().out.rpartition("digest")[2].strip()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("society") / "run"
    play(path)
    return path


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed, tmp_path / "copy"))


def test_a_society_that_crashed_ends_like_one_that_did_not(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    expected = digest(undisturbed, capsys)
    with failing_disk(10**9) as calls:
        play(tmp_path / "whole")
    assert digest(tmp_path / "whole", capsys) == expected
    for place in range(len(calls) // 8, len(calls), len(calls) // 5):
        path = tmp_path / str(place)
        with failing_disk(place), pytest.raises(Crash):
            play(path)
        play(path)
        assert digest(path, capsys) == expected, calls[place]


def test_who_dies_in_a_round_is_replaced_and_the_round_played_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    expected, judge, calls = digest(undisturbed, capsys), QuizLearner.judge, 0

    def dies(self: QuizLearner, cells: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # the first model, in the second round
            raise LostError("model 0 is lost")
        return judge(self, cells)

    monkeypatch.setattr(QuizLearner, "judge", dies)
    replaced: list[str] = []
    monkeypatch.setattr(cluster.this_process.LocalProcess, "replace", lambda self: replaced.append(self.name))
    monkeypatch.setattr(cluster.this_process.ThisProcess, "find_lost", lambda self, processes, _: processes[:1])
    play(tmp_path / "lost")
    assert "model 0 is lost; going back to round 1, the last commit" in capsys.readouterr().out
    assert replaced == ["model 0"]
    assert digest(tmp_path / "lost", capsys) == expected

    monkeypatch.setattr(QuizLearner, "judge", lambda *_: (_ for _ in ()).throw(LostError("model 0 is lost")))
    with pytest.raises(
        RunFailedError, match="model 0 is lost; that was loss 4 since the last commit: giving up; round 0"
    ):
        play(tmp_path / "again")


def test_a_longer_society_begins_like_a_shorter_one(undisturbed: Path, copy: Path, capsys: pytest.CaptureFixture[str]):
    before = (undisturbed / "metrics.jsonl").read_bytes()
    play(copy, "--rounds", "4")
    assert (copy / "metrics.jsonl").read_bytes().startswith(before)
    assert [record["iteration"] for record in read_records(copy / "metrics.jsonl")] == [1, 2, 3, 4]
    said = capsys.readouterr().out
    assert "changed since the last start: rounds was 3, is 4" in said
    assert "resuming after round 3 (18 quizzes)" in said


def test_counts_add_up_and_nobody_is_asked_before_all_are_good_enough(undisturbed: Path, tmp_path: Path):
    first, *_ = read_records(undisturbed / "metrics.jsonl")
    judged = sum(value for name, value in first.items() if name.startswith("culture/understood by"))
    assert judged == first["culture/generated"] - first["culture/trivial"] - first["culture/duplicate"] > 0
    assert first["culture/kept"] == first["culture/size"] == 6
    play(tmp_path / "never", "--society.threshold", "1")
    records = read_records(tmp_path / "never" / "metrics.jsonl")
    assert [record["culture/size"] for record in records] == [0, 0, 0]
    assert not any("culture/generated" in record for record in records)


def test_a_page_holds_all_of_it(undisturbed: Path, copy: Path):
    text = (undisturbed / "media" / "quizzes.html").read_text()
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert re.findall("<h2>(.*?)</h2>", text) == [
        "Accuracy",
        "What became of what was made up",
        "What they are like",
        "Over rounds",
        "How quizzes are made up",
        "Kept: culture-0003",
        "Kept: culture-0002",
        "Kept: culture-0001",
    ]
    counts = [record["culture/generated"] for record in read_records(undisturbed / "metrics.jsonl")]
    made, _, _ = text.partition("<h2>What they are like")
    shown = dict(re.findall(r'<th scope="row">((?:round \d|all rounds))</th><td>(\d+)</td>', made))
    assert shown["round 3"] == str(counts[-1])
    assert shown["all rounds"] == str(sum(counts))
    assert "18 quizzes kept" in text
    (copy / "media" / "curves.png").unlink()
    (copy / "media" / "curves.png").mkdir()
    config, records = presets()["quizzes-debug"][1], read_records(copy / "metrics.jsonl")
    assert "<h2>Over rounds</h2>" not in page(config, records, copy / "media")
    assert "<h2>Accuracy</h2>" in page(config, records[:0], copy / "media")


def test_the_worst_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained: list[int] = []
    accuracies: Iterator[float] = iter([0.5, 0.2, 0.3, 0.9, 0.9, 0.9])
    monkeypatch.setattr(
        QuizLearner,
        "test",
        lambda self, *_: trained.append(self._number) or {"accuracy": next(accuracies)},
    )
    flags = ["--society.trained-at-once", "1", "--society.threshold", "1", "--rounds", "6"]
    play(tmp_path / "run", *flags)
    assert trained == [0, 1, 2, 1, 2, 0]


def test_after_a_harvest_all_train_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained: list[int] = []
    accuracies: Iterator[float] = iter([0.9, 0.9, 0.6, 0.9, 0.9])
    monkeypatch.setattr(
        QuizLearner,
        "test",
        lambda self, *_: trained.append(self._number) or {"accuracy": next(accuracies)},
    )
    play(tmp_path / "run", "--society.trained-at-once", "1", "--society.threshold", "0.5", "--rounds", "5")
    assert trained == [0, 1, 2, 0, 1]
    records = read_records(tmp_path / "run" / "metrics.jsonl")
    assert [record["iteration"] for record in records if "culture/generated" in record] == [4]


@pytest.mark.parametrize(("wanted", "held_out", "learnt"), [(6, 2, [4, 8]), (100, 50, [24, 48])])
def test_the_last_of_each_harvest_are_held_out_or_as_large_a_share_of_fewer(
    wanted: int, held_out: int, learnt: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    begin, test = QuizLearner.begin_epoch, QuizLearner.test
    given: list[list[bytes]] = []
    tested: list[list[bytes]] = []

    def begin_epoch(self: QuizLearner, round_number: int, culture: Any) -> int:
        given.append([cells.tobytes() for cells in culture])
        return begin(self, round_number, culture)

    def asked(self: QuizLearner, round_number: int, culture: Any) -> dict[str, float]:
        tested.append([cells.tobytes() for each in culture.values() for cells in each.cells])
        return test(self, round_number, culture)

    monkeypatch.setattr(QuizLearner, "begin_epoch", begin_epoch)
    monkeypatch.setattr(QuizLearner, "test", asked)
    rule = ["--society.validation.wanted", str(wanted), "--society.validation.held-out", str(held_out)]
    play(tmp_path / "run", *rule, "--rounds", "2")
    assert [len(each) for each in given[::3]] == learnt
    kept = learnt[0] * wanted // (wanted - held_out)
    assert [len(each) for each in tested[::3]] == [kept - learnt[0], 2 * (kept - learnt[0])]
    assert not set(given[-1]) & set(tested[-1])


def test_damage_is_found_and_gone_back_from(undisturbed: Path, copy: Path, capsys: pytest.CaptureFixture[str]):
    expected = digest(undisturbed, capsys)
    culture = copy / "culture" / "000003.safetensors"
    data = bytearray(culture.read_bytes())
    data[-1] ^= 1
    culture.write_bytes(data)
    before = sorted(copy.rglob("*"))
    assert main(["verify", str(copy)]) == 1
    assert f"DAMAGED        checkpoint 000003: {culture} is damaged: found sha256" in capsys.readouterr().out
    assert sorted(copy.rglob("*")) == before
    play(copy)
    assert "passed over: checkpoint 000003" in capsys.readouterr().out
    assert digest(copy, capsys) == expected
    (copy / "checkpoints" / "000003" / "model-1.bin").unlink()
    assert main(["verify", str(copy)]) == 1
    assert "checkpoint 000003: cannot read" in capsys.readouterr().out
    play(copy)
    assert digest(copy, capsys) == expected
    for path in (copy / "culture").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"no intact checkpoint among 3: .*000001\.safetensors: cannot be read"):
        play(copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UsageError, match=r"found committed\.txt, but no commit in checkpoints/; expected its commits"):
        play(copy)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("culture/trivial", "round 2: found 24 judged quizzes, expected 23"),
        ("culture/understood by 1", "round 2: found 25 judged quizzes, expected 24"),
        ("culture/kept", "round 2: found 7 quizzes kept, expected as many as validated or wanted"),
        ("culture/kept", "round 2: found 6 quizzes, expected 7"),
        ("iteration", "metrics.jsonl: found 3 rounds, expected 1 to 3"),
        ("culture/size", "round 2: found a culture of 13, expected 12"),
    ],
)
def test_counts_that_do_not_add_up_are_found(copy: Path, name: str, words: str, capsys: pytest.CaptureFixture[str]):
    path = copy / "checkpoints" / "000003" / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    records[1][name] += 1
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    for each in (path, copy / "metrics.jsonl"):
        each.write_bytes(content)
    vouch_for(copy, path, content)
    assert main(["verify", str(copy)]) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if "DAMAGED" in line]
    assert any(line.endswith(words) for line in found), found


def test_files_that_no_commit_names_are_told_and_go(copy: Path, capsys: pytest.CaptureFixture[str]):
    (copy / "culture" / "000009.safetensors").write_bytes(b"later")
    assert main(["verify", str(copy)]) == 0
    assert "left over      1 files that no commit names" in capsys.readouterr().out
    play(copy)
    assert sorted(path.name for path in (copy / "culture").iterdir()) == [f"00000{i}.safetensors" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["quizzes-huge"], "^preset: found 'quizzes-huge', expected one of quizzes-small, quizzes-talk, quizzes-debug"),
        (["--society.models", "2"], "^--society.models: found 2, expected greater than or equal to 3"),
        (["--society.threshold", "1.5"], "^--society.threshold: found 1.5, expected less than or equal to 1"),
        (["--society.world.tasks", "sing"], "^--society.world.tasks: found 'sing', expected"),
        (["--society.world.grid.colours", "2"], "^--society.world: grid.colours: found 2, expected 3 or more for repl"),
        (["--society.world.grid.rectangles", "4"], "^--society.world.*: found .*, expected"),
        (
            ["quizzes-debug", "--society.world.grid.least-area", "4"],
            "^--society.world.grid: found 0 of all draws of 2 rec",
        ),
        (["--cluster.device", "cuda"], "^--cluster.device: found cuda and no GPU"),
        (["verify"], "^RUN_DIR: found none, expected"),
        (["verify", "{tmp}"], "found no run there, expected a directory with society.json"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_begins(
    flags: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    line = [flag.format(tmp=tmp_path) for flag in flags]
    with pytest.raises(UsageError, match=words) as refused:
        main(line if line[0] == "verify" else [*line, "--in-process"])
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("checkpoints"))


def test_a_society_of_other_settings_is_refused(copy: Path):
    with pytest.raises(UsageError, match=r"is of another configuration: seed is 0 there, 1 asked for"):
        play(copy, "--seed", "1")


def test_all_presets_are_societies(capsys: pytest.CaptureFixture[str]):
    assert presets()["quizzes-talk"][1].society.models == 5
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert [name for name in presets() if f"  {name} " not in said] == []
    with pytest.raises(SystemExit):
        main(["quizzes-talk", "--help"])
    assert "--society.validation.backward" in capsys.readouterr().out


@pytest.mark.ray
def test_under_ray_a_society_that_loses_a_model_ends_like_one_in_this_process(
    undisturbed: Path, tmp_path: Path, processes: RayProcesses, capsys: pytest.CaptureFixture[str]
):
    expected, config = digest(undisturbed, capsys), presets()["quizzes-debug"][1]
    models = [
        processes.start(f"model {number}", QuizLearner, config.society, number, seed=0, placement=Placement(threads=1))
        for number in range(config.society.models)
    ]

    class Killer(Reporter):
        """Kills a model when the second round trains."""

        struck = False

        def phase(self, iteration: int, name: str, done: int, total: int) -> None:
            if (iteration, name) == (2, "train") and not self.struck:
                self.struck = True
                ray.kill(cast(RayProcess, models[1]).actor)

    directory = SocietyDirectory.claim(tmp_path / "run", config)
    try:
        directory.begin(config)
        with closing(Killer(config.rounds)) as killer, StopSignals() as stop:
            Society(config, directory, processes, models, "cpu", killer, stop).run()
        assert killer.struck
    finally:
        for model in models:
            ray.kill(cast(RayProcess, model).actor)
        directory.close()
    said = capsys.readouterr().out
    assert "going back to round 1, the last commit" in said
    assert "started again: model 1" in said
    assert digest(tmp_path / "run", capsys) == expected


@pytest.mark.parametrize(
    ("models", "nodes", "device", "expected"),
    [
        (3, [{"CPU": 2.0}], "auto", {"CPU": 0.5}),
        (3, [{"CPU": 2.0}, {"CPU": 2.0}], "auto", {"CPU": 1.0}),
        (7, [{"CPU": 1.0}], "auto", {"CPU": 0.1428}),
        (5, [{"CPU": 16.0, "GPU": 5.0}], "auto", {"CPU": 1.0, "GPU": 1.0}),
        (9, [{"CPU": 16.0, "GPU": 2.0}], "cuda", {"CPU": 1.0, "GPU": 0.2}),
        (5, [{"CPU": 16.0, "GPU": 5.0}], "cpu", {"CPU": 1.0}),
    ],
)
def test_models_share_what_there_is(
    models: int, nodes: list[dict[str, float]], device: str, expected: dict[str, float]
):
    config = presets()["quizzes-talk"][1].model_dump()
    config["society"]["models"], config["cluster"]["device"] = models, device
    found = shares(QuizzesConfig.model_validate(config), nodes)
    assert found == pytest.approx(expected)
    for kind, share in found.items():
        assert models * share <= sum(node.get(kind, 0.0) for node in nodes)


def test_a_run_is_not_taken_for_a_society_nor_a_society_for_a_run(copy: Path):
    with pytest.raises(UsageError, match=r"found no run there, expected a directory with config.json"):
        verify_run([str(copy)])
    with pytest.raises(UsageError, match=r"found no run there, expected a directory with society.json"):
        main(["verify", str(SHIPPED)])
    with pytest.raises(UsageError, match="RUN_DIR: found no run at"):
        newest_run(copy.parent)
    with pytest.raises(UsageError, match="found no run there, expected a directory of runs"):
        read_runs([copy.parent])
