"""No word of one algorithm in the names and strings of what serves all: `make check` runs it, exit code 1 if there is.

An algorithm is one folder of `learners/`; whatever else is to know its words makes the next algorithm edit it.
"""

from __future__ import annotations

import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = re.compile("tokenizer|codeword|reconstruct|perceptual", re.IGNORECASE)
COMMON = ("pipeline", "cluster", "actors", "learners")
OWN = ("learners/nn", "learners/iris", "learners/delta_iris")
"""Networks to choose from, and the folders of algorithms."""


def main() -> int:
    found = [line for folder in COMMON for path in sorted((ROOT / folder).rglob("*.py")) for line in words_in(path)]
    print("\n".join(found) or "no word of one algorithm in what serves all")
    return 1 if found else 0


def words_in(path: Path) -> Iterator[str]:
    """A line for every name and string with such a word."""
    name = path.relative_to(ROOT).as_posix()
    if name.startswith(tuple(f"{folder}/" for folder in OWN)):
        return
    with open(path, "rb") as file:
        for token in tokenize.tokenize(file.readline):
            is_text = token.type in (tokenize.NAME, tokenize.STRING) or "FSTRING" in tokenize.tok_name[token.type]
            if is_text and (word := WORDS.search(token.string)):
                yield f"{name}:{token.start[0]}: found {word[0]!r}, expected a word that fits any algorithm"


if __name__ == "__main__":
    sys.exit(main())
