"""What this machine lacks to install and run the project: one line each, with what was found and what is expected.

Run by the Makefile with the Python that makes the virtual environment, before anything is written. It must therefore
be readable by an older Python too (3.6 and later), which is one of the things it reports.
"""

import importlib.util
import os
import shutil
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
MEMORY_GB = 4
# Measured, rounded up: the unpacked packages (2.0 GB, or 5.7 GB with torch's CUDA build), their wheels twice (pip's
# cache and its temporary folder), and room to run.
INSTALL_GB = 6
INSTALL_CUDA_GB = 10
# Beside a finished install: what tests and checks need on top (0.5 GB), runs, test folders and Ray's session files.
WORK_GB = 2
VENV = ".venv"


def main():
    lacking = [line for line in (python(), venv_module(), venv_version(), memory(), disk()) if line]
    for line in lacking:
        print(f"requirements: {line}", file=sys.stderr)
    return 1 if lacking else 0


def python():
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = f"found Python {dotted(sys.version_info[:2])} ({sys.executable})"
        return f"{found}, expected {dotted(OLDEST)} to {dotted(NEWEST)}; name one: make PYTHON=python3.11 ..."
    return None


def venv_module():
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        found = f"found no module {missing[0]} in {sys.executable}"
        return f"{found}, expected it, to make {VENV} (Debian, Ubuntu: apt install python3-venv)"
    return None


def venv_version():
    """An environment keeps the Python it was made with: a second one would mix two versions in one folder."""
    try:
        with open(os.path.join(VENV, "pyvenv.cfg")) as file:
            settings = dict(line.strip().split(" = ", 1) for line in file if " = " in line)
    except OSError:
        return None
    found = ".".join(settings.get("version", "unknown").split(".")[:2])
    expected = dotted(sys.version_info[:2])
    if found != expected:
        return f"found Python {found} in {VENV}, expected {expected}, the one asked for; to begin anew: make clean"
    return None


def memory():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # a container's own
        try:
            with open(limit) as file:
                total = min(total, int(file.read()))
        except (OSError, ValueError):  # no such limit here, or "max"
            continue
    # Firmware and kernel keep some of what was bought: a "4 GB" machine shows 3.7.
    if total < 0.9 * MEMORY_GB * 1e9:
        return f"found {total / 1e9:.1f} GB of memory, expected {MEMORY_GB} GB"
    return None


def disk():
    installed = os.path.exists(os.path.join(VENV, "installed"))
    free = shutil.disk_usage(".").free
    needed = WORK_GB if installed else INSTALL_GB
    line = f"found {free / 1e9:.1f} GB of free disk, expected {needed} GB"
    if not installed:
        line += f" ({INSTALL_CUDA_GB} GB for torch's CUDA build)"
    if free < needed * 1e9:
        return line
    # pip alone knows which build of torch its settings choose, and tells only while it downloads.
    if not installed and free < INSTALL_CUDA_GB * 1e9:
        print(f"note: {line}", file=sys.stderr)
    return None


def dotted(version):
    return ".".join(str(number) for number in version)


if __name__ == "__main__":
    sys.exit(main())
