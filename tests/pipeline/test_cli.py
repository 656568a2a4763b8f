"""The command line: every mistake is one line that says flag, found and expected; good lines become a configuration."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import pytest
from pydantic import BaseModel, PositiveInt, model_validator

from cluster.errors import ClusterError
from learners.config import Config
from learners.errors import AlgorithmError
from pipeline.cli import Launch, Positional, command, parse, parse_arguments
from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.presets import PRESETS, preset
from pipeline.verify import Arguments

DEBUG = preset("debug")
ROOT = Path(__file__).resolve().parents[2]
ALL_PRESETS = "iris-atari100k, iris-crafter, demo, atari-demo, atari-small, catch, debug, debug-atari, gym"

MISTAKES = {
    # The preset.
    "": ["preset: found none", ALL_PRESETS],
    "debgu": ["preset: found 'debgu'", ALL_PRESETS, "did you mean debug?"],
    "Debug": ["preset: found 'Debug'", "did you mean debug?"],
    "--seed 3 debug": ["preset: found '--seed'", "as the first argument", ALL_PRESETS],
    # Flags that do not exist.
    "debug --sede 3": ["found --sede", "did you mean --seed?", "--help"],
    "debug --learning-rate 1": [
        "found --learning-rate",
        "did you mean --algorithm.actor-critic.training.learning-rate?",
    ],
    "debug --algorithm.tokenizer.gird-size 4": ["found --algorithm.tokenizer.gird-size", "tokenizer.grid-size?"],
    "debug --config.seed 1": ["found --config.seed", "did you mean --seed?"],
    "debug --algorithm.actor-critic.lambda 0.9": [
        "found --algorithm.actor-critic.lambda;",
        "did you mean --algorithm.actor-critic.lambda_?",
    ],
    "debug --no-dataset.truncation-is-end": ["found --no-dataset.truncation-is-end", "truncation-is-end?"],
    "debug --env.game Pong": ["found --env.game", "--help lists all"],
    "debug --preset other": ["found --preset", "--help lists all"],
    "debug -s": ["found -s", "--help lists all"],
    "debug --iteration 3": ["found --iteration", "did you mean --iterations?"],
    # Flags that are there twice.
    "debug --seed 1 --seed 1": ["--seed: found it twice, expected it once"],
    "debug --log-every 1 --log_every=2": ["--log-every: found it twice, expected it once"],
    "debug --algorithm.actor-critic.channels 4 5 --algorithm.actor-critic.channels 6": [
        "--algorithm.actor-critic.channels: found it twice"
    ],
    "debug --dataset.truncation-is-end --dataset.no-truncation-is-end": [
        "--dataset.truncation-is-end: found it twice, expected it once"
    ],
    "debug --in-process --in-process": ["--in-process: found it twice, expected it once"],
    # Too few and too many values.
    "debug --seed": ["--seed: found no value, expected int"],
    "debug --seed --iterations 2": ["--seed: found no value, expected int"],
    "debug --run-dir": ["--run-dir: found no value, expected path"],
    "debug --cluster.device": ["--cluster.device: found no value, expected 'auto' or 'cpu' or 'cuda'"],
    "debug --seed 1 2": ["found '2', expected a flag"],
    "debug extra": ["found 'extra', expected a flag"],
    "debug -- --seed 1": ["found '--', expected a flag"],
    "debug --dataset.truncation-is-end false": ["--dataset.truncation-is-end: found the value 'false', expected none"],
    "debug --dataset.truncation-is-end=true": ["--dataset.truncation-is-end: found the value 'true', expected none"],
    # Values of another type.
    "debug --seed x": ["--seed: found 'x', expected int"],
    "debug --seed=4.5": ["--seed: found '4.5', expected int"],
    "debug --seed=": ["--seed: found '', expected int"],
    "debug --iterations 1e3": ["--iterations: found '1e3', expected int"],
    "debug --collection.epsilon none": ["--collection.epsilon: found 'none', expected float"],
    "debug --algorithm.actor-critic.channels 8 x": [
        "--algorithm.actor-critic.channels: found '8 x', expected int values"
    ],
    # Values that are not allowed.
    "debug --cluster.device tpu": ["--cluster.device: found 'tpu', expected 'auto' or 'cpu' or 'cuda'"],
    "debug --algorithm.tokenizer.grid-size 3": ["tokenizer.grid-size: found '3', expected 2 or 4 or 8"],
    "debug --env.kind atari": ["--env.kind: found 'atari', expected 'catch'"],
    "debug --algorithm.kind other": ["--algorithm.kind: found 'other', expected 'iris'"],
    "debug --allow-module .relative": ["--allow-module: found '.relative', which cannot be imported"],
    "debug --allow-module no_such_module": ["--allow-module: found 'no_such_module'", "No module named"],
    "debug --seed -1": ["--seed: found -1, expected greater than or equal to 0"],
    "debug --env.rows 0": ["--env.rows: found 0, expected greater than or equal to 2"],
    "debug --collection.epsilon 2": ["--collection.epsilon: found 2.0, expected less than or equal to 1"],
    "debug --evaluation.temperature nan": ["--evaluation.temperature: found nan, expected finite number"],
    "debug --algorithm.actor-critic.horizon 1": [
        "--algorithm.actor-critic.horizon: found 1, expected greater than or equal to 2"
    ],
    "debug --algorithm.actor-critic.channels 8 -1": [
        "--algorithm.actor-critic.channels.1: found -1, expected greater than 0"
    ],
    "debug --algorithm.world-model.training.batch-size 0": ["world-model.training.batch-size: found 0, expected"],
    "debug --algorithm.tokenizer.width 9": ["--algorithm.tokenizer:", "found 4 and 9", "must divide width"],
    "debug --cluster.acting-on pool": ["--cluster.acting-on: found 'pool', expected a label as name=value"],
    "debug --cluster.acting-on a=b": ["--cluster: acting_on: found 'a=b' and acting beside, expected acting spread"],
    "debug --cluster.data-parallel 2 --cluster.gpu-share 0.5": [
        "--cluster: data_parallel: found 2 and gpu_share 0.5, expected 1"
    ],
    "debug --cluster.data-parallel 3": [
        "--cluster.data-parallel: found 3, expected a divisor of algorithm.tokenizer.training.batch-size, 4"
    ],
    "debug --algorithm.world-model.heads 3": ["--algorithm.world-model:", "found 3 and 32", "must divide"],
    "debug --iterations -1": ["--iterations: found -1, expected greater than or equal to 0"],
    "debug --iterations 99999999999999999999999x": ["--iterations: found '99999999999999999999999x', expected int"],
    "debug --iterations 1000000000000": ["--iterations: found 1000000000000, expected less than or equal to 1000000"],
    "debug --cluster.start-timeout-s 99999999999999999999": [
        "--cluster.start-timeout-s: found 99999999999999999999, expected less than or equal to 10000000"
    ],
    "debug --algorithm.actor-critic.burn-in 1001": ["actor-critic.burn-in: found 1001, expected less than or equal to"],
    "debug --evaluation.num-evaluators 10001": ["num-evaluators: found 10001, expected less than or equal to 10000"],
    "debug --log-every 0": ["--log-every: found 0, expected greater than 0"],
    "debug --inspect-every 0": ["--inspect-every: found 0, expected greater than 0"],
    "debug --checkpoint.keep 2": ["--checkpoint.keep: found 2, expected greater than or equal to 3"],
    "debug --checkpoint.every 0": ["--checkpoint.every: found 0, expected greater than 0"],
    "debug --cluster.max-losses -1": ["--cluster.max-losses: found -1, expected greater than or equal to 0"],
    "debug --cluster.call-timeout-s 0": ["--cluster.call-timeout-s: found 0, expected greater than 0"],
    "debug --cluster.object-store-mb lots": ["--cluster.object-store-mb: found 'lots', expected int"],
    "debug --collection.num-collectors 0": ["--collection.num-collectors: found 0, expected greater than 0"],
    "debug --collection.steps-per-iteration 0": ["--collection.steps-per-iteration: found 0, expected greater than 0"],
    "debug --evaluation.episodes 0": ["--evaluation.episodes: found 0, expected greater than 0"],
    "debug --evaluation.epsilon -1e-4": ["--evaluation.epsilon: found -0.0001, expected greater than or equal to 0"],
    "debug --evaluation.epsilon -0.1": ["--evaluation.epsilon: found -0.1, expected greater than or equal to 0"],
    "debug --algorithm.actor-critic.discount 1.5": [
        "--algorithm.actor-critic.discount: found 1.5, expected less than or equal to 1"
    ],
    "debug --algorithm.actor-critic.training.learning-rate inf": [
        "--algorithm.actor-critic.training.learning-rate: found inf, expected finite number"
    ],
    "debug --algorithm.actor-critic.training.learning-rate 0": ["learning-rate: found 0.0, expected greater than 0"],
    "debug --algorithm.world-model.dropout 1.1": ["world-model.dropout: found 1.1, expected less than or equal to 1"],
    "debug --algorithm.tokenizer.vocab-size 0": ["tokenizer.vocab-size: found 0, expected greater than 0"],
    "debug --learner.precision float16": ["--learner.precision: found 'float16', expected 'float32' or 'bfloat16'"],
    "iris-atari100k --env.game Pnog": ["--env.game:", "found 'Pnog'", "nearest name 'Pong'"],
}


def algorithm_of(launch: Launch) -> Any:
    """Whose fields are those of the preset's algorithm."""
    return launch.config.algorithm


GOOD: dict[str, Callable[[Launch], object]] = {
    "debug --seed 7": lambda launch: launch.config.seed == 7,
    "debug --seed=7": lambda launch: launch.config.seed == 7,
    "debug --run-dir some/where": lambda launch: launch.run_dir == Path("some/where"),
    "debug --run-dir=-odd": lambda launch: launch.run_dir == Path("-odd"),
    "debug": lambda launch: launch == Launch(config=DEBUG, run_dir=None),
    "debug --log_every 3": lambda launch: launch.config.log_every == 3,
    "debug --dataset.truncation-is-end": lambda launch: launch.config.dataset.truncation_is_end is True,
    "debug --dataset.no-truncation-is-end": lambda launch: launch.config.dataset.truncation_is_end is False,
    "debug --dataset.no_truncation_is_end": lambda launch: launch.config.dataset.truncation_is_end is False,
    "debug --algorithm.actor-critic.channels 4 5 6 7": lambda launch: (
        algorithm_of(launch).actor_critic.channels == (4, 5, 6, 7)
    ),
    "debug --algorithm.actor-critic.lambda_ 0.5": lambda launch: algorithm_of(launch).actor_critic.lambda_ == 0.5,
    "debug --algorithm.actor_critic.burn_in 0": lambda launch: algorithm_of(launch).actor_critic.burn_in == 0,
    "debug --cluster.device cpu": lambda launch: launch.config.cluster.device == "cpu",
    "debug --algorithm.tokenizer.attention-resolutions": lambda launch: (
        algorithm_of(launch).tokenizer.attention_resolutions == ()
    ),
    "debug --algorithm.tokenizer.training.learning-rate 3e-4": lambda launch: (
        algorithm_of(launch).tokenizer.training.learning_rate == 3e-4
        and algorithm_of(launch).world_model.training == algorithm_of(Launch(config=DEBUG)).world_model.training
    ),
    "iris-atari100k --env.game=Breakout --iterations 0": lambda launch: (
        (launch.config.game, launch.config.iterations) == ("Breakout", 0)
    ),
    "debug --algorithm.tokenizer.perceptual-weights ' 1e3'": lambda launch: (
        algorithm_of(launch).tokenizer.perceptual_weights == " 1e3"
    ),
    "debug --no-accept-loss": lambda launch: launch.accept_loss is False,
    "gym --env.id module.sub:Name-v0": lambda launch: launch.config.game == "module.sub:Name-v0",
}


@pytest.mark.parametrize(("line", "says"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_flag_found_and_expected(line: str, says: list[str]):
    with pytest.raises(UsageError) as refused:
        parse(shlex.split(line), "train")
    message = str(refused.value)
    assert "\n" not in message
    for words in says:
        assert words in message


@pytest.mark.parametrize(("line", "holds"), GOOD.items(), ids=GOOD)
def test_a_good_line_sets_what_it_names(line: str, holds: Callable[[Launch], object]):
    assert holds(parse(shlex.split(line), "train"))


@pytest.mark.parametrize("name", PRESETS)
def test_every_field_but_the_preset_has_a_flag_that_sets_it(name: str):
    config = PRESETS[name][1]
    line = [argument for flag in _flags(config, "--") for argument in flag]
    assert len(line) > 100
    assert parse([name, *line], "train") == Launch(config=config)


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["-h"],
        ["--allow-module", "tests.examples.corridor", "--help"],
        ["debug", "--help"],
        ["debug", "--seed", "1", "-h"],
    ],
)
def test_help_lists_flags_and_is_no_error(line: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        parse(line, "train")
    assert left.value.code in (0, None)
    shown = capsys.readouterr().out
    expected = ["--seed INT", "--run-dir", "--algorithm.actor-critic.horizon"] if line[0] == "debug" else list(PRESETS)
    expected += ["A corridor"] * ("--allow-module" in line)
    assert [words for words in expected if words not in shown] == []
    assert "--preset" not in shown


@pytest.mark.parametrize("name", PRESETS)
def test_help_of_a_preset_tells_of_every_setting_its_flag_value_and_meaning(
    name: str, capsys: pytest.CaptureFixture[str]
):
    description, config = PRESETS[name]
    shown = help_of(lambda: parse([name, "--help"], "train"), capsys)
    told = "".join(shown.split())  # wherever its lines break
    flags = [flag for flag, *_ in _flags(config, "--")]
    assert [flag for flag in flags if f" {flag}" not in shown] == []
    assert [words for words in (description, *_meanings(config)) if "".join(words.split()) not in told] == []
    assert "--iterations INT Of collecting and training".replace(" ", "") in told
    assert f"0 only builds the networks. (default: {config.iterations})".replace(" ", "") in told
    assert "--cluster.device{auto,cpu,cuda}" in told
    lists = {"iris": "actor-critic.channels", "delta-iris": "actor-critic.encoder.multipliers"}
    if several := lists.get(config.algorithm.kind):
        assert f"--algorithm.{several}[INT...]" in told


def test_help_without_a_preset_describes_every_preset(capsys: pytest.CaptureFixture[str]):
    told = "".join(help_of(lambda: parse(["--help"], "train"), capsys).split())
    assert [name for name, (words, _) in PRESETS.items() if name + "".join(words.split()) not in told] == []


class Part(Config):
    """A part."""


class WidePart(Part):
    """A part of some width."""

    width: PositiveInt = 3
    """Of the part."""
    even: bool = True

    @model_validator(mode="after")
    def _is_even(self) -> Self:
        if self.even and self.width % 2:
            raise ValueError(f"width: found {self.width}, expected an even number")
        return self


class Tool(Config):
    """A tool."""

    part: Part = WidePart(width=4)
    directories: Annotated[tuple[Path, ...], Positional()] = ()
    limit: float | None = None
    """In % of all."""
    retry: bool = True


def test_a_field_has_the_flags_of_what_it_holds_rather_than_of_what_it_is_declared_to_hold(
    capsys: pytest.CaptureFixture[str],
):
    found = parse_arguments(Tool, ["--part.width", "3", "--part.no-even"], "tool")
    assert found == Tool(part=WidePart(width=3, even=False))
    with pytest.raises(UsageError, match=r"^--part: width: found 3, expected an even number$"):
        parse_arguments(Tool, ["--part.width", "3"], "tool")
    with pytest.raises(UsageError, match=r"^--part.width: found 0, expected greater than 0$"):
        parse_arguments(Tool, ["--part.width", "0"], "tool")
    assert "part:\n  A part of some width.\n\n  --part.width INT" in help_of(
        lambda: parse_arguments(Tool, ["-h"], "tool"), capsys
    )


def test_arguments_without_a_flag_stand_on_both_sides_of_flags():
    found = parse_arguments(Tool, ["a", "--limit", "-1e-4", "b", "--no-retry", "c"], "tool")
    assert found == Tool(directories=(Path("a"), Path("b"), Path("c")), limit=-1e-4, retry=False)


def test_a_bool_of_a_tool_has_only_the_flag_that_changes_it(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UsageError, match="found --retry; did you mean --no-retry"):
        parse_arguments(Tool, ["--retry"], "tool")
    shown = help_of(lambda: parse_arguments(Tool, ["--help"], "tool"), capsys)
    assert "usage: tool DIRECTORIES ... [--flag value ...]" in shown
    assert "--limit FLOAT     In % of all.\n" in shown
    assert " --retry" not in shown


VERIFY_MISTAKES = {
    "": ["RUN_DIR: found none, expected path"],
    "--digest": ["RUN_DIR: found none, expected path"],
    "run --digest --digest": ["--digest: found it twice, expected it once"],
    "run --no-digest": ["found --no-digest", "did you mean --digest?"],
    "run other": ["found 'other', expected a flag"],
    "run --digset": ["found --digset", "did you mean --digest?"],
    "run --digest=yes": ["found 'yes', expected a flag"],
}


@pytest.mark.parametrize(("line", "says"), VERIFY_MISTAKES.items(), ids=VERIFY_MISTAKES)
def test_a_mistake_in_the_line_of_a_tool_is_one_line_too(line: str, says: list[str]):
    with pytest.raises(UsageError) as refused:
        parse_arguments(Arguments, shlex.split(line), "verify")
    assert "\n" not in str(refused.value)
    for words in says:
        assert words in str(refused.value)


@pytest.mark.parametrize("line", ["some/run --digest", "--digest some/run"])
def test_flags_of_a_tool_stand_before_or_after_its_argument(line: str):
    expected = Arguments(run_dir=Path("some/run"), digest=True)
    assert parse_arguments(Arguments, shlex.split(line), "verify") == expected


def _raise(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "stderr"),
    [
        (lambda: 0, 0, ""),
        (lambda: 143, 143, ""),
        (_raise(UsageError("--seed: found x")), 2, "error: --seed: found x\n"),
        (_raise(ClusterError("no node is large enough")), 2, "error: no node is large enough\n"),
        (_raise(AlgorithmError("part 'model' reads ['frame']")), 2, "error: part 'model' reads ['frame']\n"),
        (_raise(KeyboardInterrupt()), 130, ""),
        (_raise(SystemExit(0)), 0, ""),
    ],
)
def test_a_command_exits_with_the_code_of_what_happened(
    main: Callable[[], int], code: int, stderr: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as left:
        command(main)
    assert (left.value.code, capsys.readouterr().err) == (code, stderr)


def test_an_error_is_one_line_that_can_be_printed_whatever_it_names(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        command(_raise(UsageError("a\nb\x1b[0m\udcff ± " + "x" * 5000 + " expected y")))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a\\nb\\x1b[0m\\udcff ± xxx")
    assert line.endswith("xxx expected y")
    assert len(line) < 1600


def test_a_terminal_that_knows_few_letters_shows_the_others_escaped():
    code = "from pipeline.cli import command; command(lambda: print('1 ± 2') or 0)"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 \\xb1 2\n", "")


def test_a_bug_is_not_taken_for_a_mistake_of_the_user():
    with pytest.raises(ZeroDivisionError):
        command(_raise(ZeroDivisionError()))


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("line", ["pipeline.train --help", "pipeline.train debug --iterations 0"])
def test_output_that_nobody_reads_to_the_end_leaves_no_traceback(line: str, unbuffered: str):
    reader, writer = os.pipe()
    os.close(reader)  # `| head` after it has seen enough
    arguments = [sys.executable, "-m", *line.split()]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(arguments, cwd=ROOT, env=environment, stdout=writer, stderr=subprocess.PIPE, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def help_of(asked: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """What is shown, in lines of at most 100 columns."""
    with pytest.raises(SystemExit) as left:
        asked()
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    return shown


def _meanings(model: BaseModel) -> Iterator[str]:
    """The docstrings of all models in `model`, and of their fields."""
    for name, field in type(model).model_fields.items():
        if isinstance(value := getattr(model, name), BaseModel):
            yield type(value).__doc__ or ""
            yield from _meanings(value)
        elif name != "preset":
            yield field.description or ""


def _flags(model: BaseModel, prefix: str) -> Iterator[list[str]]:
    """Flag and values for every field, as they are in `model`."""
    for name in type(model).model_fields:
        value, kebab = getattr(model, name), name if name == "lambda_" else name.replace("_", "-")
        if isinstance(value, BaseModel):
            yield from _flags(value, f"{prefix}{kebab}.")
        elif isinstance(value, bool):
            yield [f"{prefix}{'' if value else 'no-'}{kebab}"]
        elif isinstance(value, tuple):
            yield [f"{prefix}{kebab}", *map(str, value)]
        elif not (isinstance(model, RunConfig) and name == "preset"):
            yield [f"{prefix}{kebab}", str(value)]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "debgu",
        "debug --sede 3",
        "debug --seed x",
        "debug --checkpoint.keep 2",
        "iris-atari100k --env.game Pnog",
        "debug --in-process --cluster.data-parallel 2",
    ],
)
def test_a_mistake_ends_the_process_with_one_line_and_exit_code_2_before_anything_starts(line: str, tmp_path: Path):
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.train", *shlex.split(line)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    imports, said = [], []
    for each in done.stderr.splitlines():
        (imports if each.startswith("import time:") else said).append(each)
    assert (done.returncode, done.stdout) == (2, "")
    assert [each[:7] for each in said] == ["error: "]
    assert not {"ray", "torch"} & {each.rpartition("|")[2].strip() for each in imports}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    ["train --help", "train debug --help", "verify --help", "evaluate --help", "sweep --help", "report --help"],
)
def test_help_loads_nothing_heavy(line: str):
    command = [sys.executable, "-X", "importtime", "-m", *f"pipeline.{line}".split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout[:6]) == (0, "usage:")
    loaded = {each.rpartition("|")[2].strip() for each in done.stderr.splitlines()}
    assert "argparse" in loaded
    assert not {"ray", "torch", "numpy", "gymnasium", "matplotlib"} & loaded
