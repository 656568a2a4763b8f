"""A line of metrics is numbers by name, or one line of error that says which line is none."""

from __future__ import annotations

import pytest

from pipeline.records import records_of


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[]", "line 2 is no object with a number of its iteration"),
        ("null", "line 2 is no object"),
        ("{}", "line 2 is no object"),
        ('{"iteration": 0}', "line 2 is no object"),
        ('{"iteration": true}', "line 2 is no object"),
        ('{"iteration": 9007199254740992}', "line 2 is no object"),
        ('{"iteration": 1.0}', "line 2 is no object"),
        ('{"iteration": 2, "loss": null}', "line 2: found None as loss, expected a finite number"),
        ('{"iteration": 2, "loss": "1"}', "line 2: found 1 as loss, expected a finite number"),
        ('{"iteration": 2, "loss": 1e999}', "line 2: found inf as loss"),
        ('{"iteration": 2, "loss": NaN}', "found NaN"),
        ('{"iteration": 2', "Expecting"),
        ("[" * 100_000, "nested too deep|Expecting"),
    ],
)
def test_a_line_that_is_no_record_is_one_line(line: str, words: str):
    with pytest.raises(ValueError, match=words) as error:
        records_of(f'{{"iteration": 1, "loss": 0.5}}\n{line}\n'.encode())
    assert "\n" not in str(error.value)


def test_lines_are_records():
    content = b'{"iteration": 1, "steps": 20, "loss": -0.5}\n{"iteration": 2}\n'
    assert records_of(content) == [{"iteration": 1, "steps": 20, "loss": -0.5}, {"iteration": 2}]
