from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.manifest import Manifest


def read(tmp_path: Path, name: str = "sweep.toml", **settings: str) -> Manifest:
    """`settings` are written as they are, so they are TOML."""
    known = {"root": f'"{tmp_path}/runs"', "presets": '["debug-atari"]', **settings}
    path = tmp_path / name
    path.write_text("".join(f"{key} = {value}\n" for key, value in known.items() if value))
    return Manifest.read(path)


def test_a_sweep_is_every_preset_with_every_game_and_seed(tmp_path: Path):
    flags = '["--iterations", "7", "--cluster.learner-threads", "1"]'
    runs = read(tmp_path, games='["Pong", "Breakout"]', seeds="[3, 5]", flags=flags).runs()
    assert [run.name for run in runs] == [
        "debug-atari-Pong-seed3",
        "debug-atari-Breakout-seed3",
        "debug-atari-Pong-seed5",
        "debug-atari-Breakout-seed5",
    ]
    assert [(run.config.game, run.config.seed) for run in runs[1:3]] == [("Breakout", 3), ("Pong", 5)]
    assert all(run.config.iterations == 7 and run.config.cluster.learner_threads == 1 for run in runs)
    assert runs[0].run_dir == tmp_path / "runs" / "debug-atari-Pong-seed3"
    assert runs[0].arguments[-2:] == ("--run-dir", str(runs[0].run_dir))


def test_the_benchmark_has_26_games(tmp_path: Path):
    runs = read(tmp_path, presets='["iris-atari100k"]', games='"atari100k"', seeds="5").runs()
    assert len(runs) == len({run.name for run in runs}) == 26 * 5


def test_a_preset_without_games_is_one_run_a_seed(tmp_path: Path):
    assert [run.name for run in read(tmp_path, presets='["catch", "debug"]', seeds="1").runs()] == [
        "catch-catch-seed0",
        "debug-catch-seed0",
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"games": '["Pog"]'}, "sweep sweep: games: unknown Atari game: found 'Pog', nearest name 'Pong'"),
        ({"presets": '["debug-atary"]'}, "did you mean debug-atari?"),
        ({"presets": "[]"}, "presets: Tuple should have at least 1 item"),
        ({"presets": ""}, "presets: Field required"),
        ({"root": '"runs"'}, "root: expected an absolute path that every node sees"),
        ({"root": '"s3://bucket/runs"'}, "expected a path of a file system that all nodes see, found a URI"),
        ({"root": "3"}, "root: "),
        ({"games": '["Pong", "Pong"]'}, "games: 'Pong' is there twice"),
        ({"seeds": "[1, 1]"}, "seeds: 1 is there twice"),
        ({"presets": '["debug-atari", "debug-atari"]'}, "presets: 'debug-atari' is there twice"),
        ({"seeds": "0"}, "seeds: "),
        ({"games": '["Pong"]', "presets": '["catch"]'}, "games: preset catch has no choice of games, found 'Pong'"),
        ({"flags": '["--iteration", "3"]'}, "unknown flag: found --iteration; did you mean --iterations?"),
        ({"flags": '["--run-dir", "/shared/x"]'}, "flags: found --run-dir, which follows from the root"),
        ({"flags": '["--seed=3"]'}, "flags: found --seed, which follows from the seeds"),
        ({"flags": '["--env.game", "Pong"]'}, "flags: found --env.game, which follows from the games"),
        ({"name ": '"other"'}, "name: found a setting, expected none"),
        ({"retry": "3"}, "retry: Extra inputs are not permitted"),
        ({"root": '"unfinished'}, "Illegal character"),
        ({"seeds": "1000000000"}, "seeds: "),
        ({"seeds": "[]"}, "seeds: "),
        ({"seeds": "1" * 5000}, "Exceeds the limit"),
        ({"seeds": "[" * 3000 + "]" * 3000}, "recursion"),
        ({"flags": '["--help"]'}, "flags: found --help, expected settings of a run"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, settings: dict[str, str], words: str):
    with pytest.raises(UsageError) as refused:
        read(tmp_path, **settings)
    (line,) = str(refused.value).splitlines()
    assert words in line


def test_the_file_names_the_sweep(tmp_path: Path):
    assert read(tmp_path, name="atari-26.toml").name == "atari-26"
    with pytest.raises(UsageError, match="the file's name names the sweep"):
        read(tmp_path, name="a b.toml")
    with pytest.raises(UsageError, match=r"none.toml: cannot be read \(No such file or directory\)"):
        Manifest.read(tmp_path / "none.toml")
