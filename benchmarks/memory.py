"""The most memory in use at once: allocated on a GPU, resident in the process on a CPU."""

from __future__ import annotations

import gc
from pathlib import Path

import torch


def reset_peak(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: torch.device) -> float:
    """Since `reset_peak`, in GiB; it holds what was there then."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**20  # "123 kB"
