"""What all benchmarks share: a command line that asks one question, and an answer that names its circumstances."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.ceiling import Ceilings
from benchmarks.hardware import describe

_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


class Question:
    """A question, its flags, and its answer in JSON."""

    def __init__(self, name: str, text: str, description: str | None) -> None:
        """`name` is the module in benchmarks/, `description` what --help says of it."""
        self.text = text
        self.flags = argparse.ArgumentParser(
            prog=f"python -m benchmarks.{name}",
            description=description,
            epilog="On a CPU, set what worker_environment (cluster/process.py) gives a learner; the answer shows it.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.flags.add_argument("--out", type=Path, help="file for the answer, which is printed in any case")
        self.flags.add_argument("--commit", help="what is measured, where there is no git to say so")

    def ask(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """The flags in `argv`, or on the command line."""
        argv = sys.argv[1:] if argv is None else argv
        self._command = " ".join([self.flags.prog, *argv])
        self._arguments = self.flags.parse_args(argv)
        return self._arguments

    def note(self, name: str, row: Mapping[str, Any]) -> None:
        """Shows a finding while the others are still being measured."""
        print(name, json.dumps(_rounded(row)), file=sys.stderr)

    def answer(self, findings: Mapping[str, Any], ceilings: Ceilings | None = None) -> None:
        """Prints the findings with where and how they were made, numbers to four digits, and writes them to --out."""
        hardware = describe()
        circumstances = {
            "question": self.text,
            "command": self._command,
            "hardware": hardware | {"commit": self._arguments.commit or hardware["commit"]},
            "settings": _settings(),
        }
        if ceilings:
            circumstances["ceiling_gflops"] = {
                precision: {kind: flops / 1e9 for kind, flops in ceiling._asdict().items()}
                for precision, ceiling in ceilings.items()
            }
        text = json.dumps(_rounded({**circumstances, **findings}), indent=1)
        print(text)
        if self._arguments.out:
            self._arguments.out.write_text(text + "\n")


def _settings() -> dict[str, Any]:
    return {
        **{name: os.environ.get(name) for name in _VARIABLES},
        "threads": torch.get_num_threads(),
        "tf32_matrix_product": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolution": torch.backends.cudnn.allow_tf32,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
