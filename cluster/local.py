"""A Ray cluster of several nodes on this machine, to try out what runs on many. Ctrl-C ends it.

Nodes claim CPUs that the machine need not have. All listen on loopback only and demand a token; what other programs
need to know is in the directory's `env`, and `node-N.pid` is what to kill if node N is to die:

    python -m cluster.local --nodes 3 &
    source runs/cluster/env
    python -m pipeline.sweep submit my-sweep.toml
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray.cluster_utils import Cluster


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=1, help="that each node claims")
    parser.add_argument("--object-store-mb", type=int, default=200, help="of each node")
    parser.add_argument("--dashboard-port", type=int, default=8265)
    parser.add_argument("--directory", type=Path, default=Path("runs/cluster"))
    flags = parser.parse_args(argv)
    if flags.nodes < 1 or flags.cpus < 1:
        parser.error(f"found {flags.nodes} nodes of {flags.cpus} CPUs, expected at least one of each")
    if "RAY_ADDRESS" in os.environ:
        parser.error(f"found RAY_ADDRESS={os.environ['RAY_ADDRESS']}, expected none: this starts a cluster of its own")
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    node: dict[str, Any] = {"num_cpus": flags.cpus, "object_store_memory": flags.object_store_mb * 2**20}
    head = {
        **node,
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": flags.dashboard_port,
        "dashboard_agent_listen_port": 0,  # any that is free: the default is taken where another Ray runs here
    }
    flags.directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="iris-ray-", ignore_cleanup_errors=True) as folder:
        # Nodes that shared a directory would delete and unpack the files of each other's jobs.
        homes = [f"{folder}/{number}" for number in range(1, flags.nodes + 1)]
        cluster = Cluster(initialize_head=True, head_node_args={**head, "temp_dir": homes[0]})
        nodes = [cluster.head_node, *(cluster.add_node(**node, temp_dir=home) for home in homes[1:])]
        for home in homes:  # where a job looks first; then it would take any Ray on this machine
            Path(home, "ray_current_cluster").write_text(str(cluster.address))
        _write_files(flags.directory, cluster, nodes)
        words = f"{flags.nodes} nodes of {flags.cpus} CPUs: source {flags.directory / 'env'}"
        print(f"{words}; Ctrl-C ends them", flush=True)
        raylets = [_raylet(each) for each in nodes]
        while not end.wait(1.0):
            for raylet in raylets:
                raylet.poll()  # or the workers of one that is dead take it for alive
        cluster.shutdown()


def _write_files(directory: Path, cluster: Cluster, nodes: Sequence[Any]) -> None:
    for index, each in enumerate(nodes, start=1):
        (directory / f"node-{index}.pid").write_text(f"{_raylet(each).pid}\n")
    authentication = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    variables = {name: os.environ[name] for name in authentication if name in os.environ}
    variables["RAY_API_SERVER_ADDRESS"] = f"http://{cluster.webui_url}"
    path = directory / "env"
    path.unlink(missing_ok=True)
    # For this user's eyes only: who has the token can run code.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"export {name}={value}\n" for name, value in variables.items())


def _raylet(node: Any) -> subprocess.Popen[bytes]:
    """The process that is a node to Ray; its workers end with it."""
    return node.all_processes["raylet"][0].process


if __name__ == "__main__":
    main()
