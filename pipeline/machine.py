"""What the bits of a result depend on beyond its settings."""

from __future__ import annotations

import platform
from importlib.metadata import version


def machine_of(device: str, threads: int, **more: int) -> dict[str, str | int]:
    """Device, threads and versions, with `more` between them."""
    packages = {name: version(name) for name in ("torch", "numpy", "ray")}
    return {
        **{"device": device, "threads": threads, **more},
        **{"cpu": _cpu_model(), "python": platform.python_version(), **packages},
    }


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
