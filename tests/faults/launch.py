"""`python -m tests.faults.launch RUN_DIR ITERATIONS [PHASE ITERATION DELAY_S [DISK_CALL COUNT]]`: a driver that kills
itself there; without a fault it runs to the end. RAY_ADDRESS says in which cluster."""

from __future__ import annotations

import sys
from pathlib import Path

from cluster.connect import connect
from tests.faults.scene import Fault, play, processes_for_fakes
from tests.faults.stand_ins import config_of


def main(run_dir: str, iterations: str, *fault: str) -> None:
    faults = []
    if fault:
        phase, iteration, delay_s, *disk_call = fault
        faults = [Fault("driver", int(iteration), phase, float(delay_s))]
        if disk_call:
            faults[0].disk_call, faults[0].count = disk_call[0], int(disk_call[1])
    config = config_of(int(iterations))
    connect(config.cluster)
    print("digest:", play(Path(run_dir), config, processes_for_fakes(), faults).digest)


if __name__ == "__main__":
    main(*sys.argv[1:])
