"""Joins a Ray cluster, or starts one on this machine that nobody else can reach."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import stat
from ipaddress import ip_address
from pathlib import Path

import ray

from cluster import TOO_LATE
from cluster.config import ProcessesConfig
from cluster.errors import ClusterError
from cluster.process import num_cores
from learners.machine import total_memory

MIN_MEMORY_GB = 2.0
MAX_DIRECTORY_BYTES = 37
"""With what Ray adds, sockets have names of 107 bytes then, the most that there can be."""
ANSWER_TIMEOUT_S = 10.0
"""How long a cluster's port may take to answer. Ray itself would try for more than two minutes."""


def connect(config: ProcessesConfig, *, allow_open: bool = False) -> bool:
    """Connects to `RAY_ADDRESS` if it is set, else starts a Ray in this process tree, sized to the machine.

    The embedded Ray listens on loopback only and demands a token (see `cluster/__init__.py`).

    Args:
        allow_open: joins a cluster, too, that others can reach and that has asked for no token.

    Returns: whether it has joined a cluster that was there.
    Raises: ClusterError, in one line, if the machine has too little memory, the address cannot be reached or leads to
        an open cluster.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        if TOO_LATE:
            raise ClusterError("no Ray can be started: found ray imported before cluster, expected cluster first")
        _check_memory(config)
    else:
        _check_answer(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=num_cores(),
                include_dashboard=False,
                object_store_memory=config.object_store_mb * 2**20,
                logging_level=logging.ERROR,
                # Ray lets everybody write into this one, but nobody else comes through the one it is in.
                _temp_dir=str(private_directory() / "ray"),
            )
        else:
            ray.init(address=address, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = "on this machine" if address is None else f"at RAY_ADDRESS={address}"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ClusterError(f"no Ray cluster {where}: {reason}") from error
    except SystemExit:
        # What Ray makes of a SIGTERM while it starts; whoever called is to make of it what they want.
        signal.signal(signal.SIGTERM, on_sigterm)
        signal.raise_signal(signal.SIGTERM)
    finally:
        # ray.init takes SIGTERM for itself, for good: it would end the process in the middle of a commit.
        signal.signal(signal.SIGTERM, on_sigterm)
    if address is not None and not allow_open:
        _refuse_open_cluster(address)
    return address is not None


def private_directory() -> Path:
    """Where the Ray that is started here keeps sockets and logs: nobody else on this machine may put anything there.

    Raises: ClusterError, in one line, if somebody else has made it, or may write there, or its name is too long.
    """
    path = Path(os.environ.get("RAY_TMPDIR", "/tmp"), f"iris-ray-{os.getuid()}")
    if not path.is_absolute():
        raise ClusterError(f"RAY_TMPDIR: found the relative {str(path.parent)!r}, expected an absolute directory")
    if len(os.fsencode(path)) > MAX_DIRECTORY_BYTES:
        words = f"expected at most {MAX_DIRECTORY_BYTES}, for sockets; set RAY_TMPDIR to a shorter directory"
        raise ClusterError(f"{path}: found a name of {len(os.fsencode(path))} bytes, {words}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(path)
    except OSError as error:
        raise ClusterError(f"{path}: cannot be made ({error.strerror}); RAY_TMPDIR chooses where it is") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        words = f"{stat.filemode(found.st_mode)} of user {found.st_uid}, expected drwx------ of user {os.getuid()}"
        raise ClusterError(f"{path}: found {words}: others could reach the processes of a run; remove it")
    return path


def disconnect() -> None:
    ray.shutdown()


def _check_answer(address: str) -> None:
    host_and_port = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if host_and_port is None:
        return  # "auto": Ray looks for a cluster on this machine
    try:
        socket.create_connection((host_and_port[1], int(host_and_port[2])), timeout=ANSWER_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster at RAY_ADDRESS={address}: {error}") from error


def _refuse_open_cluster(address: str) -> None:
    """Raises ClusterError if the cluster is not on loopback and this process needed no token to join it."""
    host = ray.get_runtime_context().gcs_address.rpartition(":")[0].strip("[]")
    if os.environ.get("RAY_AUTH_MODE") != "token" and not is_loopback(host):
        ray.shutdown()
        raise open_cluster(f"RAY_ADDRESS={address}", host)


def open_cluster(where: str, host: str) -> ClusterError:
    return ClusterError(
        f"the cluster at {where} is open: whoever reaches {host} can run code there; found no token,"
        " expected RAY_AUTH_MODE=token on both sides, or --allow-open-cluster"
    )


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _check_memory(config: ProcessesConfig) -> None:
    expected = MIN_MEMORY_GB + config.object_store_mb / 1024
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 + _page_cache_gb()
    available = min(available, total_memory() / 2**30)
    if available < expected:
        raise ClusterError(f"too little memory: found {available:.1f} GB free, expected at least {expected:.1f} GB")


def _page_cache_gb() -> float:
    """What the kernel gives back when asked; 0 where /proc does not say."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["Cached"].split()[0]) / 2**20
    except (OSError, KeyError, ValueError):
        return 0.0
