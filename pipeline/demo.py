"""`python -m pipeline.demo`: trains the preset `demo` in a new directory, or goes on with a demo that is unfinished."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli import Launch, command
from pipeline.presets import preset
from pipeline.run_dir import default_run_dir
from pipeline.train import train

NEXT = "next: python -m pipeline.train catch, a smaller game; python -m pipeline.train --help lists every preset"


def main() -> int:
    config = preset("demo")
    code = train(Launch(config=config, run_dir=demo_directory(default_run_dir(config))))
    if code == 0:
        print(NEXT)
    return code


def demo_directory(first: Path) -> Path:
    """The newest of `first`, `first`-2, `first`-3 … if it is unfinished, else the next one."""
    number, path = 1, first
    while (path / "scores.json").exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


if __name__ == "__main__":
    command(main)
