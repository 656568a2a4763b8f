"""What a committed result must name: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import torch


def describe() -> dict[str, Any]:
    """CPU, GPU, cores, memory, versions, and the commit of the working tree."""
    with open("/proc/cpuinfo") as lines:
        cpu = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
        )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "commit": commit_of(Path(__file__).parent),
    }


def commit_of(folder: Path) -> str:
    """The commit checked out there, "-dirty" if anything changed since but results and their pictures."""
    if not which("git"):
        return "unknown"

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    results = (":(top,exclude)benchmarks/results", ":(top,exclude)docs/images")
    commit = git("rev-parse", "--short=12", "HEAD")
    dirty = commit and git("status", "--porcelain", "--", ":(top)", *results)
    return f"{commit}-dirty" if dirty else commit or "unknown"
