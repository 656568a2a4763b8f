"""Nobody else can reach the embedded Ray, and it leaves this process as it was."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
import ray

from cluster.config import ClusterConfig
from cluster.connect import connect, private_directory
from cluster.errors import ClusterError
from cluster.process import Placement
from cluster.ray_processes import RayProcesses, wait
from pipeline.stop import Stopped, StopSignals
from tests.cluster.fakes import Worker

PING = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_exists(b"key", b"namespace", timeout=60))
"""


@pytest.mark.ray
def test_every_socket_of_the_embedded_ray_is_on_loopback(processes: RayProcesses):
    worker = processes.start("worker", Worker, placement=Placement(threads=1))
    wait(worker.call("name"), "a process of its own", 120)
    listening = _listening(_descendants(os.getpid()) | {os.getpid()})
    ray.kill(worker.actor)
    gcs_port = int(ray.get_runtime_context().gcs_address.rpartition(":")[2])
    assert gcs_port in {port for _, port in listening}
    assert len(listening) >= 4  # GCS, raylet, a worker, this process
    assert {(address, port) for address, port in listening if not address.is_loopback} == set()


@pytest.mark.ray
def test_nobody_else_reaches_a_socket_of_the_embedded_ray(processes: RayProcesses):
    """Ray makes its directories writable for everybody."""
    session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[attr-defined]
    assert list((session / "sockets").iterdir())
    assert [path for path in session.parents if path.lstat().st_mode & 0o077 == 0] == [private_directory()]


@pytest.mark.parametrize("what", ["open", "link", "file"])
def test_a_directory_that_is_not_private_is_refused_in_one_line(what: str, monkeypatch: pytest.MonkeyPatch):
    with TemporaryDirectory(dir="/tmp") as short:  # pytest's own names are too long
        monkeypatch.setenv("RAY_TMPDIR", short)
        path = private_directory()
        assert path.lstat().st_mode == 0o040700
        path.rmdir()
        if what == "open":
            path.mkdir()
            path.chmod(0o770)
        elif what == "link":
            Path(short, "other").mkdir(mode=0o700)
            path.symlink_to("other")
        else:
            path.touch(mode=0o600)
        with pytest.raises(
            ClusterError, match=r"(found .* expected drwx------ of user|cannot be made \(File exists\))"
        ):
            private_directory()


@pytest.mark.parametrize(
    ("directory", "words"),
    [
        ("/" + "x" * 60, r"bytes, expected at most 37, for sockets; set RAY_TMPDIR to a shorter"),
        ("here", r"RAY_TMPDIR: found the relative 'here', expected an absolute directory"),
        ("", r"RAY_TMPDIR: found the relative '\.', expected an absolute directory"),
    ],
)
def test_where_sockets_cannot_lie_is_refused_in_one_line(directory: str, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_TMPDIR", directory)
    with pytest.raises(ClusterError, match=words):
        private_directory()


@pytest.mark.ray
@pytest.mark.parametrize("change", [{"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}], ids=["other", "none"])
def test_whoever_has_not_the_token_is_turned_away(cluster: ClusterConfig, change: dict[str, str]):
    done = _ping(change)
    assert done.returncode != 0
    assert "Unauthenticated" in done.stderr


@pytest.mark.ray
def test_whoever_has_the_token_is_let_in(cluster: ClusterConfig):
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert _ping({}).stdout == "False\n"


def test_an_address_where_nobody_listens_is_refused_at_once(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port, and it refuses
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ClusterError, match=rf"no Ray cluster at RAY_ADDRESS={address}: .*refused"):
            connect(ClusterConfig())


OPEN = "10.0.0.7:6379"


@pytest.mark.parametrize(
    ("gcs_address", "mode", "allowed", "is_refused"),
    [
        (OPEN, None, False, True),
        (OPEN, "disabled", False, True),
        ("[2001:db8::7]:6379", None, False, True),
        ("head.ray.svc:6379", None, False, True),
        (OPEN, "token", False, False),
        (OPEN, None, True, False),
        ("127.0.0.1:6379", None, False, False),
        ("localhost:6379", None, False, False),
        ("[::1]:6379", None, False, False),
    ],
)
def test_a_cluster_that_anyone_can_join_is_refused_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, gcs_address: str, mode: str | None, allowed: bool, is_refused: bool
):
    left: list[bool] = []
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_AUTH_MODE", mode) if mode else monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: left.append(True))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=gcs_address))
    if is_refused:
        with pytest.raises(ClusterError, match=r"^the cluster at RAY_ADDRESS=auto is open: .*--allow-open-cluster$"):
            connect(ClusterConfig(), allow_open=allowed)
    else:
        connect(ClusterConfig(), allow_open=allowed)
    assert left == [True] * is_refused


@pytest.mark.ray
def test_sigterm_stays_ours(cluster: ClusterConfig):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_sigterm_while_ray_starts_stops_like_any_other(monkeypatch: pytest.MonkeyPatch):
    def interrupted_init(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as ray.init does
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray, "init", interrupted_init)
    with pytest.raises(Stopped) as stopped, StopSignals():
        connect(ClusterConfig())
    assert stopped.value.exit_code == 143


def test_whoever_imports_ray_before_the_settings_it_reads_is_told_so():
    imports = "import ray; from cluster.connect import connect; from cluster.config import ClusterConfig"
    script = f"{imports}; connect(ClusterConfig())"
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", script], env=known, capture_output=True, text=True, timeout=300)
    assert "no Ray can be started: found ray imported before cluster, expected cluster first" in done.stderr


def test_too_little_memory_is_said_before_anything_starts():
    with pytest.raises(ClusterError, match=r"^too little memory: found [\d.]+ GB free, expected at least 1026\.0 GB$"):
        connect(ClusterConfig(object_store_mb=2**20))


def _ping(change: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Asks the embedded Ray for a key from another process, whose environment is ours with a change."""
    command = [sys.executable, "-c", PING, ray.get_runtime_context().gcs_address]
    return subprocess.run(command, env=os.environ | change, capture_output=True, text=True, timeout=300)


def _descendants(ancestor: int) -> set[int]:
    """Processes that this one started, directly or not."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def _listening(processes: set[int]) -> set[tuple[IPv4Address | IPv6Address, int]]:
    """Addresses and ports on which the processes accept TCP connections."""
    inodes = set()
    for process in processes:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:
            continue
        inodes |= {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == "0A" and inode in inodes:
                address, port = local.split(":")
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                ip = ip_address(b"".join(words))
                found.add((getattr(ip, "ipv4_mapped", None) or ip, int(port, 16)))
    return found
