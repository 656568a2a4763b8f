"""A checkpoint's file that is not what it says: refused in one line, whatever its checksum, and nothing has changed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from learners.config import DatasetConfig, LearnerConfig
from learners.learner import Learner
from tests.learners.fakes import TINY_AGENT, make_chunk

FILE = "world_model.safetensors"
WEIGHT = "weights.token_head.2.bias"


def tensors_with(data: bytes, change: Callable[[dict[str, Tensor]], object], updates: str = "1") -> bytes:
    tensors = load(data)
    change(tensors)
    return save(tensors, metadata={"updates": updates})


def header(data: bytes, text: bytes, length: int | None = None) -> bytes:
    """Its tensors after another header."""
    size = int.from_bytes(data[:8], "little")
    return struct.pack("<Q", len(text) if length is None else length) + text + data[8 + size :]


def claim(shape: list[int], offsets: list[int]) -> bytes:
    entry = {WEIGHT: {"dtype": "F32", "shape": shape, "data_offsets": offsets}, "__metadata__": {"updates": "1"}}
    return json.dumps(entry).encode()


def torch_file(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def zip_bomb(_: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(10**8))
    return file.getvalue()


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "seven bytes": lambda data: data[:7],
    "a header and no tensors": lambda data: data[: 8 + int.from_bytes(data[:8], "little")],
    "half of it": lambda data: data[: len(data) // 2],
    "more than it says": lambda data: data + b"\0" * 100,
    "a pickle": lambda data: pickle.dumps({"weights": [1.0]}),
    "a file of torch.save": lambda data: torch_file({WEIGHT: torch.zeros(3)}),
    "a zip bomb": zip_bomb,
    "a header of 16 EiB": lambda data: header(data, b"{}", 2**64 - 1),
    "a header longer than the file": lambda data: header(data, b"{}", len(data) * 2),
    "a header that is no JSON": lambda data: header(data, b"\xff" * 64),
    "a header that is a list": lambda data: header(data, b"[]"),
    "a header of nested lists": lambda data: header(data, b"[" * 100_000),
    "a tensor of a terabyte": lambda data: header(data, claim([2**38], [0, 2**40])),
    "a tensor with more numbers than an address": lambda data: header(data, claim([2**40, 2**40], [0, 4])),
    "a tensor of negative size": lambda data: header(data, claim([-1], [0, 4])),
    "a tensor that ends before it begins": lambda data: header(data, claim([1], [8, 4])),
    "no count of gradient steps": lambda data: save(load(data)),
    "a count that is a word": lambda data: tensors_with(data, lambda tensors: None, updates="many"),
    "a missing tensor": lambda data: tensors_with(data, lambda tensors: tensors.pop(WEIGHT)),
    "an unknown tensor": lambda data: tensors_with(data, lambda tensors: tensors.update(more=torch.zeros(1))),
    "another shape": lambda data: tensors_with(data, lambda tensors: tensors.update({WEIGHT: torch.zeros(2, 2)})),
    "another type": lambda data: tensors_with(data, lambda tensors: tensors.update({WEIGHT: tensors[WEIGHT].half()})),
    "a weight that is no number": lambda data: tensors_with(data, lambda tensors: tensors[WEIGHT].fill_(float("nan"))),
    "an infinite average": lambda data: tensors_with(
        data, lambda tensors: tensors[WEIGHT.replace("weights", "optimizer") + ".exp_avg"].fill_(float("inf"))
    ),
    "a negative average of squares": lambda data: tensors_with(
        data, lambda tensors: tensors[WEIGHT.replace("weights", "optimizer") + ".exp_avg_sq"].fill_(-1e-9)
    ),
    "a negative count of gradient steps": lambda data: tensors_with(data, lambda tensors: None, updates="-1"),
    "no optimiser": lambda data: tensors_with(
        data, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("optimizer")]
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learner, Path]:
    learner = Learner(TINY_AGENT, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    learner.extend([make_chunk([5, 9])])
    for part in learner.parts:
        learner.train(part, 1, range(1))
    path = tmp_path_factory.mktemp("saved")
    learner.save(str(path))
    return learner, path


@pytest.mark.parametrize("forge", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_and_changes_nothing(
    saved: tuple[Learner, Path], tmp_path: Path, forge: Callable[[bytes], bytes]
):
    learner, path = saved
    for file in path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / FILE).write_bytes(forge((path / FILE).read_bytes()))
    before = learner.weights()
    with pytest.raises(ValueError, match=r"^world_model: ") as refused:
        learner.load(str(tmp_path))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert np.array_equal(learner.weights(), before)
    learner.load(str(path))
