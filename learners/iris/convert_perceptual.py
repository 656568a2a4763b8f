"""`python -m learners.iris.convert_perceptual`: the weights file of the perceptual loss, out of two published ones.

The only place that reads `.pth` files, which are pickles: torch reads them with `weights_only=True`, so that a file
that holds anything but tensors is refused and no code in it is run.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save
from torch import Tensor

from learners.durable import write_durably
from learners.iris.perceptual import VGG16, check_weights

HELP = """\
Makes the weights file of the perceptual loss (LPIPS) from two published ones:

  VGG.pth    torchvision's VGG16, ImageNet weights: vgg16-397923af.pth, 553 MB
  HEADS.pth  LPIPS's linear heads, version 0.1: lpips/weights/v0.1/vgg.pth, 7 kB, inside the package lpips 0.1.4
             (pip download --no-deps lpips==0.1.4, then unzip the wheel)

OUT, 59 MB, is what --algorithm.tokenizer.perceptual-weights names. More in docs/perceptual.md.
"""


class RefusedFileError(Exception):
    """What is wrong with a file, in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Writes OUT and prints its sha256. Returns the exit status: 2, and one line on stderr, if a file is refused."""
    parser = _Parser(
        prog="python -m learners.iris.convert_perceptual",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("vgg", metavar="VGG.pth", type=Path, help="a state dict with features.0.weight, ...")
    parser.add_argument("heads", metavar="HEADS.pth", type=Path, help="a state dict with lin0.model.1.weight, ...")
    parser.add_argument("out", metavar="OUT", type=Path, help="the safetensors file to write; replaced if it exists")
    arguments = parser.parse_args(argv)
    try:
        digest = convert(arguments.vgg, arguments.heads, arguments.out)
    except RefusedFileError as error:
        print(f"convert_perceptual: {error}", file=sys.stderr)
        return 2
    print(f"sha256 {digest}  {arguments.out}")
    return 0


def convert(vgg: Path, heads: Path, out: Path) -> str:
    """Writes the trunk of `vgg` and the heads of `heads` to `out`; the same sources make the same bytes.

    Returns: the sha256 of `out`.
    Raises: RefusedFileError if a source is not what it should be, or `out` cannot be written (it is then as it was).
    """
    if out.resolve() in (vgg.resolve(), heads.resolve()):
        raise RefusedFileError(f"{out}: would replace what it is made from, expected another file")
    weights = _trunk(vgg) | _heads(heads)
    try:
        check_weights(weights)
    except ValueError as error:  # the names are ours by now: what is left to find wrong are values
        raise RefusedFileError(f"{vgg} with {heads}: {error}") from error
    data = save(weights)
    try:
        write_durably(out, data)
    except OSError as error:
        raise RefusedFileError(f"{out}: cannot be written ({error.strerror})") from error
    return hashlib.sha256(data).hexdigest()


def _trunk(path: Path) -> dict[str, Tensor]:
    """torchvision numbers convolutions, ReLUs and pools in one sequence."""
    state = _state_dict(path)
    # The name of a published file ends in the first 8 digits of its sha256.
    if promised := re.search(r"-([0-9a-f]{8})\.pth$", path.name):
        found = _sha256(path)[:8]
        if found != promised[1]:
            raise RefusedFileError(f"{path}: found sha256 {found}…, expected {promised[1]}… as in its name: damaged?")
    weights, index = {}, 0
    for stage in VGG16:
        for name, inputs, outputs in stage:
            weights[f"trunk.{name}.weight"] = _tensor(path, state, f"features.{index}.weight", (outputs, inputs, 3, 3))
            weights[f"trunk.{name}.bias"] = _tensor(path, state, f"features.{index}.bias", (outputs,))
            index += 2
        index += 1
    return weights


def _heads(path: Path) -> dict[str, Tensor]:
    """Their index within `model` is 1, after the dropout they were trained with."""
    state = _state_dict(path)
    return {
        f"heads.relu{stage[-1][0].removeprefix('conv')}.weight": _tensor(
            path, state, f"lin{depth}.model.1.weight", (1, stage[-1][2], 1, 1)
        )
        for depth, stage in enumerate(VGG16)
    }


def _state_dict(path: Path) -> Mapping[str, Any]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise RefusedFileError(f"{path}: cannot be read ({error.strerror})") from error
    with file, warnings.catch_warnings(action="ignore"):  # torch's remarks on pickles would be lines beside ours
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251 - builds tensors only
        # Whatever a reader of pickles meets in damaged bytes: ten kinds of exception were seen, OSError among them.
        except Exception as error:
            raise RefusedFileError(f"{path}: damaged, or holds more than tensors (nothing in it was run)") from error
    if not isinstance(state, Mapping):
        raise RefusedFileError(f"{path}: found a {type(state).__name__}, expected a state dict")
    return state


def _tensor(path: Path, state: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = state.get(name)
    if not isinstance(tensor, Tensor):
        raise RefusedFileError(f"{path}: found no tensor {name} among {len(state)} entries, expected its shape {shape}")
    if tuple(tensor.shape) != shape:
        raise RefusedFileError(f"{path}: {name}: found shape {tuple(tensor.shape)}, expected {shape}")
    return tensor.contiguous()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage that argparse would put before it."""
        self.exit(2, f"convert_perceptual: {message}; --help tells more\n")


if __name__ == "__main__":
    sys.exit(main())
