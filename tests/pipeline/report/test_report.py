"""From directories and files to tables, figures and a page."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.errors import UsageError
from pipeline.report.__main__ import main
from pipeline.report.looks import LABEL_LETTERS, looks_of
from pipeline.run_dir import RunDirectory
from pipeline.scores.published import load
from tests.pipeline.scores.runs import evaluation, write_csv, write_run

FILES = {"report.html", "table.md", "table.tex", "aggregates.json", "scores.csv", "figures"}


def lines_of(algorithm: str, like: str = "iris", seeds: int = 1, factor: float = 1.0) -> list[str]:
    """CSV lines with the published scores of one."""
    published = load().scores[like]
    return [f"{algorithm},{game},{seed},{factor * score}" for game, score in published.items() for seed in range(seeds)]


def content(out: Path) -> dict[str, Any]:
    return json.loads((out / "aggregates.json").read_text())


def cells(table: str, label: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_runs_stand_beside_the_scores_of_others_and_the_published_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    runs, out = tmp_path / "runs", tmp_path / "out"
    pong = load().references["Pong"]
    evaluations = [{"iteration": i, "steps": 20 * i, "evaluation/score_mean": 1.0 * i} for i in (1, 2)]
    write_run(runs, "Pong", 0, pong.human, metrics=evaluations)
    write_run(runs, "Pong", 1, pong.random, metrics=evaluations)
    write_run(runs, "catch", 0, 0.5, preset="tiny", floors={"random": -0.625})
    unfinished = write_run(runs, "Boxing", 3)
    (unfinished / "scores.json").unlink()
    others = write_csv(tmp_path / "others.csv", *lines_of("iris again"))
    assert main([str(runs), "--out", str(out), "--scores", str(others)]) == 0
    assert {path.name for path in out.iterdir()} == FILES

    found = content(out)
    ours, theirs = found["algorithms"]["p"], found["algorithms"]["iris again"]
    assert ours["mean"] == {"value": 0.5, "low": 0.0, "high": 1.0}
    assert (ours["scores"], ours["superhuman"]) == ({"Pong": [pong.human, pong.random]}, 0)
    assert (ours["human-normalised"], ours["games in the aggregates"]) == ({"Pong": [1.0, 0.0]}, 1)
    assert theirs["mean"] == {"value": pytest.approx(1.046, abs=0.0005)}  # one run a game: no interval
    assert (theirs["superhuman"], theirs["strictly superhuman"]) == (10, 9)
    assert found["published"]["iris"]["mean"] == theirs["mean"]
    assert "interquartile mean" not in found["published"]["iris"]
    assert [(each["of"], each["over"], each["games"]) for each in found["probability of improvement"]] == [
        ("p", "iris again", 1)
    ]
    assert found["learning curves"] == {
        "Pong": {"p": {"steps": [20.0, 40.0], "value": [1.0, 2.0], "low": [1.0, 2.0], "high": [1.0, 2.0]}}
    }
    assert list(found["sample efficiency"]) == ["p"]
    assert found["machines"] == ["device cpu, torch 2.13.0"]

    table = (out / "table.md").read_text()
    assert cells(table, "game")[:7] == ["game", "p", "tiny", "iris again", "random", "human", "muzero (published)"]
    assert cells(table, "Pong")[1:6] == ["-3.0", "", "14.6", "-20.7", "14.6"]
    assert cells(table, "Alien")[1:4] == ["", "", "420.0"]
    assert cells(table, "catch")[1:4] == ["", "**0.5**", ""]
    assert cells(table, "mean")[1:4] == ["0.500 (0.000 to 1.000)", "", "1.046"]
    assert cells(table, "superhuman games")[3] == "10 (9 strictly)"
    assert cells(table, "runs a game")[1:4] == ["2", "", "1"]
    assert {path.suffix for path in (out / "figures").iterdir()} == {".svg", ".png"}
    assert {path.stem for path in (out / "figures").iterdir()} == {
        *("aggregates", "profiles", "improvement", "games", "learning", "efficiency"),
    }

    notes = [line.removeprefix("note: ") for line in capsys.readouterr().out.splitlines()[:-1]]
    assert notes == found["notes"]
    assert f"left out, not finished: {unfinished}" in notes
    assert "tiny: not in the aggregates, nor in the published table: catch" in notes
    assert "tiny, catch: in the same episodes who looks at nothing scores: random -0.62" in notes
    assert "p: runs a game: 2, too few for intervals one can rely on: they are too narrow" in notes
    assert "iris again: runs a game: 1, no intervals" in notes
    assert "iris again: its protocol is not stated" in notes
    assert "aggregates are over different games: --common-games compares on those that all have played" in notes
    assert any(note.startswith("p: 25 of 26 games missing: Alien, Amidar") for note in notes)
    assert any(
        note.startswith("p: not evaluated as published: environment steps 60 (published: 100000)") for note in notes
    )


def test_the_protocol_of_every_number_stands_beside_it(tmp_path: Path):
    write_run(tmp_path / "runs", "Pong", 0)
    points = [{"iteration": i, "steps": 20 * i, "evaluation/score_mean": 1.0} for i in (1, 2)]
    write_run(tmp_path / "runs", "Krull", 0, metrics=points)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    curves = content(tmp_path / "out")["protocols of curves"]["p"]
    assert curves.startswith("episodes 2, episodes of the last 3, epsilon 0.0, temperature 0.5")
    assert f"p, curves**: {curves}" in (tmp_path / "out" / "table.md").read_text()
    protocol = content(tmp_path / "out")["algorithms"]["p"]["protocol"]
    assert protocol.startswith("environment steps 60, iterations 3, episodes 3, evaluation seeds 1, epsilon 0.0")
    assert content(tmp_path / "out")["published"]["iris"]["protocol"].startswith("as in the paper of each")
    for name in ("table.md", "table.tex", "report.html", "scores.csv"):
        assert protocol in (tmp_path / "out" / name).read_text()


def test_files_alone_make_a_report_and_nothing_makes_none(tmp_path: Path):
    others = write_csv(tmp_path / "others.csv", *lines_of("a", seeds=2), *lines_of("b", "spr", 2))
    assert main(["--out", str(tmp_path / "out"), "--scores", str(others)]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    gaps = cells((tmp_path / "out" / "table.md").read_text(), "optimality gap")[1:3]
    smallest = min(gaps, key=lambda cell: float(cell.strip("*").split()[0]))
    assert [cell for cell in gaps if cell.startswith("**")] == [smallest]
    with pytest.raises(
        UsageError, match=r"found nothing to report, expected directories of runs or --scores FILE\.csv"
    ):
        main(["--out", str(tmp_path / "none")])
    with pytest.raises(UsageError, match="--out"):
        main(["--scores", str(others)])
    with pytest.raises(UsageError, match=r"--out: found one of --scores where scores.csv would be written"):
        main(["--out", str(tmp_path / "out"), "--scores", str(tmp_path / "out" / "scores.csv")])
    (write_run(tmp_path / "runs", "Pong", 0) / "scores.json").unlink()
    with pytest.raises(UsageError, match="found no finished run, expected at least one; left out, not finished: "):
        main([str(tmp_path / "runs"), "--out", str(tmp_path / "none")])
    with pytest.raises(UsageError, match=r"--out: found no directory at .*others\.csv, nor can one be made"):
        main(["--out", str(others), "--scores", str(others)])
    assert not (tmp_path / "none").exists()


def test_a_name_like_a_published_one_is_another_algorithm(tmp_path: Path):
    others = write_csv(tmp_path / "others.csv", *lines_of("iris", factor=0.5))
    assert main(["--out", str(tmp_path / "out"), "--scores", str(others)]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    means = dict(zip(cells(table, "game"), cells(table, "mean"), strict=True))
    assert means["iris"] < means["iris (published)"] == "1.046"


MEANS = [("algorithms", "all"), ("algorithms", "some"), ("published", "iris")]


def test_common_games_are_those_that_all_have_played(tmp_path: Path):
    some = [line for line in lines_of("some") if ",Pong," in line or ",Krull," in line]
    others = write_csv(tmp_path / "others.csv", *lines_of("all"), *some, "some,catch,0,1")
    assert main(["--out", str(tmp_path / "out"), "--scores", str(others), "--common-games"]) == 0
    found = content(tmp_path / "out")
    assert [each["games in the aggregates"] for each in found["algorithms"].values()] == [2, 2]
    assert (
        found["published"]["iris"]["mean"] == found["algorithms"]["all"]["mean"] == found["algorithms"]["some"]["mean"]
    )
    assert not any("different games" in note for note in found["notes"])
    table = (tmp_path / "out" / "table.md").read_text()
    assert cells(table, "of games")[1:3] == ["2", "2"]
    assert cells(table, "mean")[1].startswith("**")  # the same games: there is a best one


def test_no_common_game_is_one_line_and_who_plays_no_atari_does_not_count(tmp_path: Path):
    others = write_csv(tmp_path / "others.csv", "a,Pong,0,1", "b,Krull,0,1", "c,catch,0,1")
    with pytest.raises(UsageError, match="--common-games: found no game that all algorithms have played"):
        main(["--out", str(tmp_path / "out"), "--scores", str(others), "--common-games"])
    others = write_csv(tmp_path / "others.csv", "a,Pong,0,1", "b,Pong,0,1", "b,Krull,0,1", "c,catch,0,1")
    assert main(["--out", str(tmp_path / "out"), "--scores", str(others), "--common-games"]) == 0
    found = content(tmp_path / "out")["algorithms"].values()
    assert [list(each["human-normalised"]) for each in found] == [["Pong"], ["Pong"], []]


def test_different_protocols_side_by_side_are_told_and_split_runs_are_named_by_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = write_run(tmp_path / "runs", "Pong", 0)
    config = RunDirectory.open(run).config()
    write_run(tmp_path / "runs", "Pong", 1, protocol=evaluation(config, 1.0, episodes=100).protocol)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--split"]) == 0
    assert list(content(tmp_path / "out")["algorithms"]) == ["p [episodes 3]", "p [episodes 100]"]
    assert "note: algorithms are evaluated under different protocols" in capsys.readouterr().out


def test_curves_whose_points_were_evaluated_differently_are_left_out(tmp_path: Path):
    points = [{"iteration": i, "steps": 20 * i, "evaluation/score_mean": 1.0} for i in (1, 2)]
    runs = [write_run(tmp_path / "runs", "Pong", seed, metrics=points) for seed in (0, 1)]
    config = RunDirectory.open(runs[1]).config()
    hotter = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"temperature": 5.0})})
    (runs[1] / "config.json").write_text(hotter.model_dump_json())
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    found = content(tmp_path / "out")
    assert (found["learning curves"], found["sample efficiency"], found["protocols of curves"]) == ({}, {}, {})
    assert "p: no learning curves, its runs were evaluated in different ways while they learnt" in found["notes"]


def test_the_best_is_bold_and_aggregates_of_different_games_have_none(tmp_path: Path):
    others = write_csv(tmp_path / "others.csv", *lines_of("double", factor=2.0), "one,Pong,0,15", "two,Pong,0,15")
    assert main(["--out", str(tmp_path / "out"), "--scores", str(others)]) == 0
    table, tex = (tmp_path / "out" / "table.md").read_text(), (tmp_path / "out" / "table.tex").read_text()
    assert cells(table, "Krull")[1] == f"**{2 * load().scores['iris']['Krull']:.1f}**"
    bold = [cell for cell in cells(table, "Pong") if cell.startswith("**")]
    assert bold == [f"**{max(2 * load().scores['iris']['Pong'], 15):.1f}**"]
    assert "**" not in cells(table, "mean")[1]
    assert r"\textbf{" + f"{2 * load().scores['iris']['Krull']:.1f}" + "}" in tex


def test_the_table_of_8_games_has_newer_algorithms(tmp_path: Path):
    others = write_csv(tmp_path / "others.csv", "a,Pong,0,1")
    assert main(["--out", str(tmp_path / "out"), "--scores", str(others), "--published", "atari100k_8_games"]) == 0
    assert list(content(tmp_path / "out")["published"]) == ["simple", "dreamerv3", "storm", "iris", "delta-iris"]
    assert cells((tmp_path / "out" / "table.md").read_text(), "mean")[-1] == "4.240"


def test_crafter_has_its_score_and_no_atari_beside_it(tmp_path: Path):
    pong = write_csv(tmp_path / "others.csv", "a,Pong,0,1")
    assert main(["--out", str(tmp_path / "out"), "--scores", str(pong)]) == 0
    write_run(tmp_path / "runs", "crafter", 0, 2.1, success_rates={"collect_coal": 50.0})
    write_run(tmp_path / "runs", "crafter", 1, 2.1, success_rates={"collect_coal": 100.0})
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    found = content(tmp_path / "out")
    assert found["crafter"]["p"]["success rates"] == {"collect_coal": 75.0}
    assert found["crafter"]["p"]["score"] == pytest.approx({"value": 75.0, "low": 50.0, "high": 100.0})
    assert found["published"] == {}
    assert {path.stem for path in (tmp_path / "out" / "figures").iterdir()} == {"crafter"}  # Pong's are gone
    table = (tmp_path / "out" / "table.md").read_text()
    assert cells(table, "Crafter score in training, %")[1] == "75.000 (50.000 to 100.000)"
    assert "muzero" not in (tmp_path / "out" / "report.html").read_text()


def test_a_report_reads_what_another_one_wrote_and_the_same_numbers_give_the_same_bytes(tmp_path: Path):
    write_run(tmp_path / "runs", "Pong", 0, 1.0 / 3.0)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "one")]) == 0
    written = tmp_path / "one" / "scores.csv"
    for out in ("two", "three"):
        assert main(["--out", str(tmp_path / out), "--scores", str(written)]) == 0
    one, two, three = (content(tmp_path / out) for out in ("one", "two", "three"))
    assert one["algorithms"] == two["algorithms"] == three["algorithms"]
    assert (tmp_path / "two" / "scores.csv").read_bytes() == written.read_bytes()
    for path in (tmp_path / "two" / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "three" / "figures" / path.name).read_bytes()


NASTY = "[x <script>alert(1)</script> & 50% of $5 a|b_c #1 {~^\\}"


def test_names_of_others_are_text_everywhere(tmp_path: Path):
    with open(tmp_path / "others.csv", "w", newline="") as file:
        csv.writer(file).writerows([("algorithm", "game", "seed", "score"), (NASTY, "Pong", 0, 1), ("b", "Pong", 0, 2)])
    assert main(["--out", str(tmp_path / "out"), "--scores", str(tmp_path / "others.csv")]) == 0
    page, table, tex = ((tmp_path / "out" / name).read_text() for name in ("report.html", "table.md", "table.tex"))
    for path in (tmp_path / "out" / "figures").glob("*.svg"):
        ElementTree.parse(path)  # raises if it is not well-formed
    assert "<script>" not in page
    assert "[x &lt;script&gt;alert(1)&lt;/script&gt; &amp; 50%" in page
    assert len(re.findall(r"(?<!\\)\|", table.splitlines()[0])) == len(re.findall(r"\|", table.splitlines()[1]))
    (head,) = [line for line in tex.splitlines() if line.startswith("game &")]
    assert (
        r"{[}x \textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{} \& 50\% of \$5 a|b\_c \#1"
        r" \{\textasciitilde{}\textasciicircum{}\textbackslash{}\}"
    ) in head


def test_more_algorithms_than_a_figure_can_show_are_compared_in_aggregates_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """In seconds: 13 pair by pair would be 78, and 150 would be 11 175."""
    words = "neither probabilities of improvement nor a figure of games: found 13 algorithms, expected at most 12"
    for count, pairs, figures in ((12, 66, {"improvement", "games"}), (13, 0, set())):
        runs = [f"algorithm {i},Pong,{j},{i + j}" for i in range(count) for j in (0, 1)]
        out = tmp_path / str(count)
        assert main(["--scores", str(write_csv(tmp_path / f"{count}.csv", *runs)), "--out", str(out)]) == 0
        assert (words in capsys.readouterr().out) == (not pairs)
        found = json.loads((out / "aggregates.json").read_text())
        assert (len(found["probability of improvement"]), len(found["algorithms"])) == (pairs, count)
        assert {each.stem for each in (out / "figures").iterdir()} == {"aggregates", "profiles"} | figures


def test_every_algorithm_has_a_label_of_its_own():
    beginning = "a name that is the same for all of them and longer than three lines of any label, namely number "
    looks = looks_of([f"{beginning}{index}" for index in range(9)])
    labels = [look.label for look in looks.values()]
    assert len(set(labels)) == 9
    assert all(len(line) <= LABEL_LETTERS + 5 for label in labels for line in label.splitlines())
    assert len({(look.colour, look.line, look.marker) for look in looks.values()}) == 9
