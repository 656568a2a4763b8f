"""A standing attacker: hostile files for every command that reads them, hostile command lines for every command.

What no command may do, whatever it meets: raise, hang, exit with another code than documented, say more than one line
of error, change what it only reads, leave something behind. Each finding prints the line that repeats it.

    python -m tests.faults.fuzz --minutes 10
    python -m tests.faults.fuzz --case 1234
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from io import FileIO, TextIOWrapper
from itertools import islice
from pathlib import Path

from tests.faults.hostile_files import mutate_file
from tests.faults.hostile_lines import PACKAGES, hostile_line

PATIENCE_S = 300.0
"""Until a command hangs: most take some seconds, on a machine with other work ten times as long."""
GRACE_S = 20.0
"""For a run that has begun; most are at their end by then."""
MEMORY_BYTES = 12 << 30
"""Address space that a command may take."""
QUICK = ("--in-process", "--cluster.learner-threads", "1")
BEGUN = (b"\nneeds ", b", after iteration ", b"learning to level ", b"\nmodels: ")
"""What is said when all is checked: from then on a run, or who plays with one, may take as long as it likes."""
SERVES = b"\nopen http://"
"""What says who serves a page, until somebody ends it."""


@dataclass(frozen=True)
class Outcome:
    code: int | None
    """None if it did not end."""
    out: str
    err: str


RUNS = {"debug": "debug-catch-seed0", "jepa-debug": "jepa-debug-rooms-seed0"}
"""Presets that are attacked, and the names that a sweep gives their runs: one dreams, one plans."""
SOCIETY = "quizzes-debug"
"""The third kind of what is attacked."""


class Arena:
    """A finished run of each preset, and copies of it for one attempt each."""

    def __init__(self, folder: Path) -> None:
        self.runs = {preset: folder / preset for preset in RUNS}
        self._folder = folder
        for preset, run in self.runs.items():
            done = attempt("pipeline.train", [preset, *QUICK, "--run-dir", str(run)], folder)
            assert done.code == 0, done
            evaluated = attempt("pipeline.evaluate", [str(run), "--in-process", "--episodes", "2"], folder)
            assert evaluated.code == 0, evaluated
        self.runs[SOCIETY] = folder / SOCIETY
        line = [SOCIETY, "--in-process", "--run-dir", str(self.runs[SOCIETY])]
        assert attempt("pipeline.quizzes", line, folder).code == 0

    def check(self, case: int) -> tuple[str, str]:
        """What was tried and what was wrong with the answer, in words; "" if nothing was."""
        rng = random.Random(case)
        place = self._folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        try:
            return self._files(rng, place) if rng.random() < 0.6 else self._lines(rng, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _files(self, rng: random.Random, place: Path) -> tuple[str, str]:
        preset = rng.choice(list(self.runs))
        run = Path(shutil.copytree(self.runs[preset], place / "root" / RUNS.get(preset, preset)))
        what = mutate_file(run, rng)
        (place / "root" / "sweep.toml").write_text(f'root = "{place / "root"}"\npresets = ["{preset}"]\n')
        module, line = rng.choice(readers(preset, run, place / "root" / "sweep.toml", place / "out"))
        goes_on = module == "pipeline.train" or line[:1] == [SOCIETY]
        before = None if goes_on else seen(place / "root")
        outcome = attempt(module, line, place)
        wrong = complaint(outcome)
        if not wrong and before is not None and (after := seen(place / "root")) != before:
            changed = sorted(str(name) for name in set(before.items()) ^ set(after.items()))
            wrong = f"it changed {changed[:3]}"
        return f"{module} {' '.join(line[:1])} | {what}", wrong

    def _lines(self, rng: random.Random, place: Path) -> tuple[str, str]:
        run = Path(shutil.copytree(self.runs[rng.choice(list(self.runs))], place / "run"))
        module, line = hostile_line(rng, run, place)
        before = seen(place)
        outcome = attempt(module, line, place, may_go_on=True)
        wrong = complaint(outcome)
        if not wrong and outcome.code and (after := seen(place)) != before:
            wrong = f"it left {sorted(str(name) for name in set(after.items()) ^ set(before.items()))[:3]}"
        return f"{module} {' '.join(f'{word!r:.80}' for word in line)}", wrong


def readers(preset: str, run: Path, manifest: Path, out: Path) -> list[tuple[str, list[str]]]:
    """Every command that reads a run, or goes on with it."""
    if preset == SOCIETY:
        goes_on = [SOCIETY, "--in-process", "--run-dir", str(run)]
        return [
            ("pipeline.quizzes", ["verify", str(run), "--digest"]),
            ("pipeline.quizzes", goes_on),
            ("pipeline.quizzes", [*goes_on, "--rounds", "4"]),
            ("pipeline.verify", [str(run)]),
        ]
    return [
        ("pipeline.verify", [str(run), "--digest"]),
        ("pipeline.evaluate", [str(run), "--in-process", "--episodes", "1", "--out", str(out)]),
        ("pipeline.report", [str(run), "--out", str(out)]),
        ("pipeline.play", [str(run)]),
        ("pipeline.plan", [str(run), "--episodes", "2", "--out", str(out)]),
        ("pipeline.surprise", [str(run), "--episodes", "2", "--out", str(out)]),
        ("pipeline.sweep", ["status", str(manifest)]),
        ("pipeline.sweep", ["submit", "--dry-run", str(manifest)]),
        ("pipeline.train", [preset, *QUICK, "--run-dir", str(run)]),
        ("pipeline.train", [preset, *QUICK, "--iterations", "4", "--run-dir", str(run)]),
    ]


def attempt(module: str, line: Sequence[str], place: Path, *, may_go_on: bool = False) -> Outcome:
    """Runs a command in a child of this process, which has loaded all that takes time.

    With `may_go_on`, it may be a run that takes for ever: one that has begun is fine, and stopped after a while. Who
    serves a page is stopped at once.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = _start(module, line, place, (out.fileno(), err.fileno()))
        code = _wait(child, out.fileno(), {SERVES: 0.0} | (dict.fromkeys(BEGUN, GRACE_S) if may_go_on else {}))
        texts = [os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace") for file in (out, err)]
    return Outcome(code, *texts)


def _start(module: str, line: Sequence[str], place: Path, streams: tuple[int, int]) -> int:
    child = os.fork()
    if not child:
        code = 70
        try:
            os.setsid()
            for number, stream in enumerate(streams, start=1):
                os.dup2(stream, number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(place)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            sys.stdout = TextIOWrapper(FileIO(1, "w", closefd=False), encoding="ascii")
            sys.stderr = TextIOWrapper(FileIO(2, "w", closefd=False), encoding="ascii", errors="backslashreplace")
            code = _exit_code(module, line)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    return child


def _exit_code(module: str, line: Sequence[str]) -> int:
    from pipeline.cli import command

    main = import_module(f"{module}.__main__" if module in PACKAGES else module).main
    try:
        command(lambda: main(list(line)))
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    return 0


def _wait(child: int, out: int, endless: Mapping[bytes, float]) -> int | None:
    """Its exit code; None if it hangs; 0 if it says in `out` what those say who never end, so many seconds later."""
    end, has_begun = time.monotonic() + PATIENCE_S, False
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        said = b"" if has_begun else os.pread(out, 1 << 16, 0)
        if grace := [seconds for words, seconds in endless.items() if words in said]:
            end, has_begun = time.monotonic() + grace[0], True
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 0 if has_begun else None


def complaint(outcome: Outcome) -> str:
    """What is wrong with how a command ended; "" if nothing is."""
    lines = outcome.err.splitlines()
    if outcome.code is None:
        return f"it hangs: {outcome.out[-200:]!r} {outcome.err[-200:]!r}"
    if "Traceback" in outcome.err or "Traceback" in outcome.out:
        return f"traceback: {' / '.join(lines[-3:])[-400:]}"
    if outcome.code not in (0, 1, 2):
        return f"exit code {outcome.code}: {outcome.err[-200:]!r}"
    if len(lines) > 1 or (lines and outcome.code == 0):
        return f"exit code {outcome.code} and {len(lines)} lines of error: {outcome.err[:300]!r}"
    if outcome.code == 2 and not (lines and lines[0].startswith("error: ")):
        return f"exit code 2 without a line that says why: {outcome.err[-200:]!r}"
    if lines and len(lines[0]) > 2000:
        return f"a line of {len(lines[0])} characters: {lines[0][:200]!r}"
    return ""


def seen(directory: Path) -> dict[str, str]:
    """Every entry below, and what it is."""
    found = {}
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            key = os.path.relpath(path, directory)
            if os.path.islink(path):
                found[key] = f"link to {os.readlink(path)}"
            elif os.path.isfile(path):
                size = os.path.getsize(path)
                found[key] = f"{size} bytes" if size > 1 << 30 else sha256(Path(path).read_bytes()).hexdigest()
            else:
                found[key] = "directory" if os.path.isdir(path) else "other"
    return found


def load_everything() -> None:
    """What commands load when they are sure that they need it, so that each attempt need not; one thread is faster."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in (
        *("pipeline.train", "pipeline.verify", "pipeline.evaluate", "pipeline.report.__main__", "pipeline.sweep"),
        *("pipeline.play", "pipeline.trained", "pipeline.viewer.server", "pipeline.plan", "pipeline.surprise"),
        *("pipeline.comparison", "pipeline.detection", "learners.jepa.jepa"),
        *("pipeline.toy", "pipeline.toy_picture", "learners.toy.training"),
        *("pipeline.quizzes.__main__", "pipeline.quizzes.start", "pipeline.quizzes.verify"),
        *("pipeline.finish", "pipeline.driver", "pipeline.workers", "pipeline.players", "pipeline.floor"),
        *("pipeline.report.page", "pipeline.report.figures", "pipeline.report.tables", "pipeline.report.comparison"),
        *("actors.audit", "actors.envs.check", "pipeline.needs", "learners.iris.iris", "cluster.this_process"),
    ):
        import_module(module)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cases", type=int, help="at most")
    parser.add_argument("--seed", type=int, default=0, help="of the cases")
    parser.add_argument("--case", type=int, help="one that is to be repeated, with all that it says")
    flags = parser.parse_args(argv)
    load_everything()
    with tempfile.TemporaryDirectory() as folder:
        arena = Arena(Path(folder))
        if flags.case is not None:
            what, wrong = arena.check(flags.case)
            print(f"{what}\n{wrong or 'nothing wrong'}")
            return int(bool(wrong))
        found = list(
            findings(
                arena, islice(cases(flags.seed), flags.cases), until=time.monotonic() + 60 * flags.minutes, say=print
            )
        )
    return int(bool(found))


def cases(seed: int) -> Iterator[int]:
    rng = random.Random(seed)
    while True:
        yield rng.randrange(1 << 40)


def findings(
    arena: Arena, numbers: Iterator[int], *, until: float, say: Callable[[str], None] = lambda line: None
) -> Iterator[str]:
    """Of cases, one after another, until that time."""
    tried: Counter[str] = Counter()
    wrongs = 0
    for case in numbers:
        if time.monotonic() > until:
            break
        what, wrong = arena.check(case)
        tried[what.split()[0] + (" of files" if " | " in what else " by its line")] += 1
        if wrong:
            wrongs += 1
            text = f"python -m tests.faults.fuzz --case {case}\n    {what}\n    {wrong}"
            say(text)
            yield text
    say(
        f"{sum(tried.values())} cases, {wrongs} findings; "
        + ", ".join(f"{n} {name}" for name, n in sorted(tried.items()))
    )


if __name__ == "__main__":
    sys.exit(main())
