"""The memory of a learner's device: what experience takes of it, and what is said where it runs out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from learners.machine import total_memory

MIN_ROWS = 1024


class ExperienceTooLargeError(Exception):
    """The memory of the device is too small for the columns of a dataset; the message says what they hold."""


class BatchTooLargeError(Exception):
    """The memory of the device is too small for a gradient step; the message names its batch size."""


_RUN_OUT = ("can't allocate memory", "could not create a primitive", "could not create a memory", "_ALLOC_FAILED")
"""What torch and oneDNN say on a CPU, and the libraries of a GPU."""


def has_run_out(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(each in str(error) for each in _RUN_OUT)


def run_out_in_words(error: Exception) -> str:
    """What is said of an error of which `has_run_out` is true: the first line of it."""
    return f"out of memory ({str(error).partition(chr(10))[0] or type(error).__name__})"


def is_too_large(error: Exception) -> bool:
    """Whether something could not be made because no memory holds it, or no number counts it."""
    return has_run_out(error) or isinstance(error, OverflowError) or "overflow" in str(error).lower()


def experience_too_large(num_steps: int, step_bytes: int, device: torch.device) -> ExperienceTooLargeError:
    words = f"experience of {num_steps:,} steps, {step_bytes:,} bytes each and room for as many again,"
    return ExperienceTooLargeError(f"{words} {_does_not_fit(device)}: expected fewer steps or another device")


def batch_too_large(batch_size: int, ranks: int, device: torch.device) -> BatchTooLargeError:
    shared = f", shared by {ranks} processes," if ranks > 1 else ""
    smaller = f"expected {batch_size // 2} or less" if batch_size > 1 else "expected smaller networks or more memory"
    return BatchTooLargeError(f"a batch of {batch_size}{shared} {_does_not_fit(device)}: {smaller}")


def next_capacity(num_rows: int, capacity: int) -> int:
    """Rows that a column makes room for, once it has to hold `num_rows` and has room for `capacity`."""
    return max(num_rows, 2 * capacity, MIN_ROWS)


def peak_bytes(num_steps: int, columns: Sequence[int]) -> int:
    """The most that a dataset of so many steps, each of `columns` bytes, has allocated at once.

    Columns double one after the other; while the largest does, it is there twice, as it was and as it will be. Left out
    is what does not grow with the steps.
    """
    rows = max(MIN_ROWS, 1 << num_steps.bit_length())  # with one for padding
    return rows * sum(columns) + rows // 2 * max(columns)


def device_memory(device: torch.device) -> int:
    """Bytes that it has."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return total_memory()


def _does_not_fit(device: torch.device) -> str:
    return f"does not fit into the {device_memory(device) / 2**30:.0f} GiB of {device}"
