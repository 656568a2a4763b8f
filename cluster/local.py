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
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

HEAD_AGENT_PORT = 0
"""Any that is free: the default is taken where another Ray runs on this machine."""


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
    os.environ.pop("RAY_ADDRESS", None)
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    node: dict[str, Any] = {"num_cpus": flags.cpus, "object_store_memory": flags.object_store_mb * 2**20}
    dashboard = {"dashboard_host": "127.0.0.1", "dashboard_port": flags.dashboard_port}
    agent = {"include_dashboard": True, "dashboard_agent_listen_port": HEAD_AGENT_PORT}
    cluster = Cluster(initialize_head=True, head_node_args={**node, **dashboard, **agent})
    nodes = [cluster.head_node, *(cluster.add_node(**node) for _ in range(flags.nodes - 1))]
    flags.directory.mkdir(parents=True, exist_ok=True)
    for index, each in enumerate(nodes, start=1):
        raylet = each.all_processes["raylet"][0].process  # type: ignore[union-attr]
        (flags.directory / f"node-{index}.pid").write_text(f"{raylet.pid}\n")
    _write_environment(flags.directory / "env", f"http://{cluster.webui_url}")
    print(f"{flags.nodes} nodes of {flags.cpus} CPUs: source {flags.directory / 'env'}; Ctrl-C ends them", flush=True)
    end.wait()
    cluster.shutdown()


def _write_environment(path: Path, dashboard: str) -> None:
    """For this user's eyes only: who has the token can run code."""
    path.unlink(missing_ok=True)
    known = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    lines = [f"export {name}={value}\n" for name, value in {**known, "RAY_API_SERVER_ADDRESS": dashboard}.items()]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(lines)


if __name__ == "__main__":
    main()
