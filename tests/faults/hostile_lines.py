"""Command lines as nobody should write them: for every command, its own flags with values that do not fit."""

from __future__ import annotations

import io
import random
import re
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module
from pathlib import Path

VALUES = (
    *("", " ", "-1", "0", "1", "2", "00", "1.5", "-0", "1e5", "1e400", "nan", "inf", "-inf", "1_000", "٣", "²", "x"),
    *("9" * 20, "9" * 5000, "99999999999", "1000000000000", "true", "null", "none", "[]", "{}", "[1", '"', "'", "a\nb"),
    *("--help", "--", "-", "=", "../..", "/dev/null", "/dev/full", "/", ".", "x" * 5000, "é", "\udcff", "a,b", "1 2"),
)
TOML_VALUES = (
    *(
        '""',
        '"²"',
        '"a\\u0000b"',
        "[]",
        '["x"]',
        "[0, 0]",
        "[-1]",
        '["debug", "debug"]',
        '["--help"]',
        '["--seed", "1"]',
    ),
    *("-1", "0", "1000000000", "9" * 40, "9" * 5000, "nan", "inf", "{}", "true", "1979-05-27", "[" * 3000 + "]" * 3000),
)
SETTINGS = ("root", "presets", "seeds", "games", "flags", "max_concurrent", "retries", "name", "x")
PRESETS = (
    "debug",
    "debug-atari",
    "delta-iris-debug",
    "jepa-debug",
    "catch",
    "atari-small",
    "iris-atari100k",
    "gym",
    "nope",
    "",
)


PACKAGES = ("pipeline.report", "pipeline.quizzes")
"""Commands that are packages."""


def hostile_line(rng: random.Random, run: Path, place: Path) -> tuple[str, list[str]]:
    """A command and its arguments; whatever it should write goes below `place`."""
    others = (
        "pipeline.verify",
        "pipeline.evaluate",
        "pipeline.report",
        "pipeline.play",
        "pipeline.plan",
        "pipeline.surprise",
        "pipeline.toy",
        "pipeline.quizzes",
        "floor",
        "pipeline.sweep",
        "sweep file",
    )
    module = "pipeline.train" if rng.random() < 0.4 else rng.choice(others)
    if module == "pipeline.train":
        preset = rng.choice(PRESETS) if rng.random() < 0.3 else "debug"
        line = [preset, "--iterations", "0"] if rng.random() < 0.5 else [preset, "--in-process"]
        line += ["--run-dir", str(place / "new"), *_flags(rng, "pipeline.train", ("debug", "--help"))]
        return module, line
    if module == "floor":
        line = ["--agent", rng.choice(("random", "leaning")), "debug", "--in-process", "--episodes", "1"]
        return "pipeline.evaluate", line + _flags(rng, "pipeline.evaluate", ("--agent", "random", "debug", "--help"))
    if module == "sweep file":
        return "pipeline.sweep", [rng.choice(("status", "submit")), str(_manifest(rng, place)), "--dry-run"]
    base = {
        "pipeline.verify": [str(run)],
        "pipeline.evaluate": [str(run), "--in-process", "--episodes", "1"],
        "pipeline.report": [str(run), "--out", str(place / "out")],
        "pipeline.play": [str(run)],
        "pipeline.plan": [str(run), "--episodes", "1"],
        "pipeline.surprise": [str(run), "--episodes", "2"],
        "pipeline.toy": ["--sequences", "10", "--epochs", "1", "--seeds", "0"],
        "pipeline.quizzes": ["quizzes-debug", "--in-process", "--run-dir", str(place / "new")],
        "pipeline.sweep": ["status", str(_manifest(random.Random(0), place))],
    }[module]
    if rng.random() < 0.3:
        base[rng.randrange(len(base))] = rng.choice(VALUES)
    help_line = ("quizzes-debug", "--help") if module == "pipeline.quizzes" else ("--help",)
    return module, base + _flags(rng, module, help_line)


def _manifest(rng: random.Random, place: Path) -> Path:
    path = place / "sweep.toml"
    settings = {"root": f'"{place / "root"}"', "presets": '["debug"]', "seeds": "2"}
    for _ in range(rng.randrange(3)):
        settings[rng.choice(SETTINGS)] = rng.choice(TOML_VALUES)
    path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    return path


def _flags(rng: random.Random, module: str, help_line: tuple[str, ...]) -> list[str]:
    """One to three of a command's own, mostly with a value."""
    words = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        flag = rng.choice(known_flags(module, help_line))
        if flag in ("--run-dir", "--out") and rng.random() < 0.7:
            continue
        if rng.random() < 0.1:
            flag = rng.choice((flag[:-1], flag + "x", flag.upper(), flag.replace("-", "_"), "-" + flag))
        words += [f"{flag}={rng.choice(VALUES)}"] if rng.random() < 0.2 else [flag, rng.choice(VALUES)]
    return words


@cache
def known_flags(module: str, line: tuple[str, ...]) -> tuple[str, ...]:
    """That a command's help lists."""
    text = io.StringIO()
    main = import_module(f"{module}.__main__" if module in PACKAGES else module).main
    with redirect_stdout(text), suppress(SystemExit):
        main(list(line))
    return tuple(sorted(set(re.findall(r"--[a-z][a-z0-9.-]+", text.getvalue())) - {"--help", "--accept-loss"}))
