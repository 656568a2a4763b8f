"""How much code there is to read: Python tokens without comments, line ends and indentation, by folder.

python .ci/count_tokens.py
"""

from __future__ import annotations

import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCTION = ("pipeline", "cluster", "actors", "learners")
FOLDERS = (*PRODUCTION, "tests", "benchmarks")
GUESTS = ("learners/delta_iris", "learners/jepa", "learners/planning", "learners/toy")
"""Algorithms that came after the house was built."""
NOT_READ = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def tokens_of(folder: str) -> int:
    total = 0
    for path in sorted((ROOT / folder).rglob("*.py")):
        with open(path, "rb") as file:
            total += sum(token.type not in NOT_READ for token in tokenize.tokenize(file.readline))
    return total


if __name__ == "__main__":
    counts = {folder: tokens_of(folder) for folder in FOLDERS}
    for folder, count in counts.items():
        print(f"{folder:<12}{count:>8,}")
    production, guests = sum(counts[folder] for folder in PRODUCTION), sum(map(tokens_of, GUESTS))
    print(f"{'production':<12}{production:>8,}, {production - guests:,} without {', '.join(GUESTS)}")
