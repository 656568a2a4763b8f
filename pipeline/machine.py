"""What the bits of a result depend on beyond its settings."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version


def machine_of(device: str, threads: int, **more: int) -> dict[str, str | int]:
    """Device, threads and versions, with `more` between them."""
    packages = {name: version(name) for name in ("torch", "numpy", "ray")}
    return {
        **{"device": device, "threads": threads, **more},
        **{"cpu": _cpu_model(), "python": platform.python_version(), **packages},
    }


def changes_of(before: Mapping[str, str | int], now: Mapping[str, str | int]) -> str:
    """What a change of machine means for a run that goes on, in one line; "" if there is none."""
    changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
    return f"not bit-identical to an uninterrupted run from here on: {', '.join(changed)}" if changed else ""


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
