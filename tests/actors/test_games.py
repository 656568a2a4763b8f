from __future__ import annotations

import subprocess
import sys

import ale_py
import gymnasium
import pytest

from actors.envs.games import ATARI_100K_GAMES, ATARI_GAMES, check_game

SUFFIX = "NoFrameskip-v4"


def test_the_games_are_those_that_ale_py_registers():
    gymnasium.register_envs(ale_py)
    registered = sorted(name.removesuffix(SUFFIX) for name in gymnasium.registry if name.endswith(SUFFIX))
    assert list(ATARI_GAMES) == registered


def test_the_benchmark_is_26_of_them():
    assert len(set(ATARI_100K_GAMES)) == len(ATARI_100K_GAMES) == 26
    assert set(ATARI_100K_GAMES) < set(ATARI_GAMES)
    assert sorted(ATARI_100K_GAMES) == list(ATARI_100K_GAMES)


def test_a_known_name_is_returned_as_it_is():
    assert [check_game(name) for name in ATARI_GAMES] == list(ATARI_GAMES)


@pytest.mark.parametrize(
    ("found", "nearest"),
    [
        ("pong", "Pong"),
        ("MSPACMAN", "MsPacman"),
        ("ms_pacman", "MsPacman"),
        ("Pongg", "Pong"),
        ("Breakot", "Breakout"),
        ("ALE/Qbert-v5", "Qbert"),
        ("UpNDownNoFrameskip-v4", "UpNDown"),
        ("JamesBond", "Jamesbond"),
        ("", "Adventure"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line_with_the_nearest_one(found: str, nearest: str):
    with pytest.raises(ValueError, match="unknown Atari game") as error:
        check_game(found)
    if found:
        assert str(error.value) == f"unknown Atari game: found {found!r}, nearest name {nearest!r}"
    assert "\n" not in str(error.value)


def test_a_name_in_another_case_finds_its_own():
    for game in ATARI_GAMES:
        for found in {game.lower(), game.upper()} - {game}:
            with pytest.raises(ValueError, match=f"nearest name '{game}'$"):
                check_game(found)


def test_checking_a_name_loads_nothing_heavy():
    script = "import sys; before = set(sys.modules); import actors.envs.games; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ale_py", "numpy", "gymnasium", "torch", "PIL", "pydantic"} & set(loaded)
    assert "actors.envs.games" in loaded
