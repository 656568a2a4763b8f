"""What experience takes of the memory of a learner's device: `dataset.py` in numbers.

Left out is what is small and does not grow with the steps: a gathered batch, and on the host which steps are whose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from learners.algorithm import Algorithm
from learners.config import FRAME_SIZE

MIN_ROWS = 1024
STEP_BYTES = (8, 4, 1)
"""Of an action, a reward, and whether the episode ended."""
VERSION_BYTES = 8
"""Of a derived column, beside each of its values."""


class ExperienceTooLargeError(Exception):
    """The memory of the device is too small for the columns of a dataset; the message says what they hold."""


@torch.no_grad()
def column_bytes(algorithm: Algorithm, names: Iterable[str], device: torch.device) -> list[int]:
    """Bytes that one step takes in every column of a dataset from which the columns `names` are read.

    What these are derived from counts, too. Types are those that networks in evaluation mode compute around the call.
    """
    frame = torch.zeros((1, 3, FRAME_SIZE, FRAME_SIZE), dtype=torch.uint8, device=device)
    columns: dict[str, Tensor] = {"frames": frame}

    def example(name: str) -> Tensor:
        if name not in columns:
            derived = algorithm.derived[name]
            columns[name] = derived.compute(example(derived.source))
        return columns[name]

    for name in names:
        example(name)
    derived = [value.nbytes + VERSION_BYTES for name, value in columns.items() if name != "frames"]
    return [frame.nbytes, *STEP_BYTES, *derived]


def peak_bytes(num_steps: int, columns: Sequence[int]) -> int:
    """The most that a dataset of so many steps, each of `columns` bytes, has allocated at once.

    Rows are a power of two, with one for padding; they double, a column after the other. When the largest does, it is
    there twice, as it was and as it will be.
    """
    rows = max(MIN_ROWS, 1 << num_steps.bit_length())
    return rows * sum(columns) + rows // 2 * max(columns)
