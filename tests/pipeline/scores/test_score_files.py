"""Files of others: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.scores.score_files import read_csv
from tests.pipeline.scores.runs import write_csv


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,Pong,0,nan", "line 2: found a score of 'nan', expected a number of at most 1e+12"),
        ("a,Pong,0,inf", "line 2: found a score of 'inf'"),
        ("a,Pong,0,-1e308", "line 2: found a score of '-1e308'"),
        ("a,Pong,0,1_000", "line 2: found a score of '1_000'"),
        ('a,Pong,0,"nan\n"', "found a score of 'nan\\n'"),
        ("a,Pong,zero,1", "line 2: found a seed of 'zero', expected a whole number"),
        ("a,Pong,-1,1", "line 2: found a seed of '-1'"),
        ("a,Pong,1_0,1", "line 2: found a seed of '1_0'"),
        ("a\x01b,Pong,0,1", "line 2: found algorithm 'a\\x01b', expected a line of text"),
        ("a,Pnog,0,1", "line 2: unknown Atari game: found 'Pnog', nearest name 'Pong'"),
        ("a,Pong,0", "line 2: found 3 values, expected one a column"),
        ("a,Pong,0,1,2", "line 2: found 5 values, expected one a column"),
        (" ,Pong,0,1", "line 2: found algorithm ' ', expected a line of text"),
        ("=1+1,Pong,0,1", "line 2: found algorithm '=1+1', expected a line of text that begins with none of = + - @"),
        ("@x,Pong,0,1", "line 2: found algorithm '@x', expected a line of text that begins with none of = + - @"),
        ("", "found no line below its columns"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str):
    with pytest.raises(UsageError) as refused:
        read_csv(write_csv(tmp_path / "others.csv", line))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"game,score\nPong,1\n",
            "found columns 'game,score', expected algorithm,game,seed,score and",
        ),
        (b"", "found columns ''"),
        (b"\xff\xfe", "found bytes that are no text"),
    ],
)
def test_other_columns_and_no_table_are_one_line(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "others.csv").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_csv(tmp_path / "others.csv")


def test_a_spreadsheets_table_can_be_read(tmp_path: Path):
    """It begins with a byte order mark and ends its lines in two characters."""
    (tmp_path / "others.csv").write_bytes(b"\xef\xbb\xbfalgorithm,game,seed,score\r\na,Pong,0,1\r\n")
    assert [each.algorithm for each in read_csv(tmp_path / "others.csv")] == ["a"]


def test_no_file_is_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_csv(tmp_path / "none.csv")


def test_the_line_that_is_named_is_that_of_the_file(tmp_path: Path):
    """Blank lines and values of several lines count."""
    others = write_csv(tmp_path / "others.csv", "a,Pong,0,1", "", "", '"a', 'b",Pong,0,1', "a,Pong,1,x")
    with pytest.raises(UsageError, match=r"line 6: found algorithm 'a\\nb'"):
        read_csv(others)
    others = write_csv(tmp_path / "others.csv", "a,Pong,0,1", "", "", "a,Pong,1,x")
    with pytest.raises(UsageError, match="line 5: found a score of 'x'"):
        read_csv(others)
