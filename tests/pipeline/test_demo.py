from pathlib import Path

from pipeline.demo import demo_directory


def finish(run: Path) -> None:
    run.mkdir()
    (run / "scores.json").touch()


def test_the_first_demo_takes_the_plain_name(tmp_path: Path):
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo"


def test_an_unfinished_demo_is_gone_on_with(tmp_path: Path):
    (tmp_path / "demo").mkdir()
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo"
    finish(tmp_path / "demo-2")
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo"


def test_after_a_finished_demo_comes_the_next_number(tmp_path: Path):
    finish(tmp_path / "demo")
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo-2"
    finish(tmp_path / "demo-2")
    (tmp_path / "demo-3").mkdir()
    assert demo_directory(tmp_path / "demo") == tmp_path / "demo-3"
