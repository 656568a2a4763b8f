"""`python -m tests.faults.node RUN_DIR KILLS`: a run on a cluster of several nodes on this machine, whose nodes die.

Prints what came of it as JSON: the digest, the phase of each kill, and how long each took to recover from.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from cluster.connect import connect, disconnect
from tests.faults.scene import Fault, play, processes_for_fakes
from tests.faults.stand_ins import PHASES, config_of

SYSTEM_CONFIG = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}
"""A node that does not answer for 1.5 s is dead; with Ray's defaults it takes 15 s."""


def main(run_dir: str, num_kills: str) -> None:
    """Every second iteration the node on which all workers are is killed; a spare one is there, and another joins."""
    from ray.cluster_utils import Cluster  # after `cluster`, which settles how Ray may be reached
    from ray.util import placement_group_table

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": SYSTEM_CONFIG})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = str(cluster.address)
    faults = [Fault("node", 2 + 2 * kill, PHASES[(3 * kill) % len(PHASES)]) for kill in range(int(num_kills))]
    config = config_of(iterations=2 * len(faults) + 2)
    connect(config.cluster)
    processes = processes_for_fakes()

    def kill_node() -> None:
        table = placement_group_table(processes._reserved)
        node = next(node for node in nodes if node.node_id in table["bundles_to_node_id"].values())
        nodes.remove(node)
        cluster.remove_node(node, allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1))

    digest = play(Path(run_dir), config, processes, faults, kill_node).digest
    hits = [{"hit": fault.hit, "phase": fault.phase, "recovered_s": fault.recovered_s} for fault in faults]
    print(json.dumps({"digest": digest, "kills": hits}))
    disconnect()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
