"""Any process but the driver dies, anywhere: the run replaces it and ends as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.ray_processes import RayProcesses
from pipeline.errors import RunFailedError
from pipeline.workers import Workers
from tests.faults.scene import Fault, play
from tests.faults.stand_ins import KINDS, PHASES, config_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_S = 120
BEFORE_ANY_COMMIT = Fault("evaluator", 1, "evaluate")
"""Everyone else is well and has learnt, so they have to be replaced, too."""
IN_PHASES = [
    Fault(kind, 2 + index, phase, delay_s=0.01 * (index % 2) * (phase != "commit"))
    for index, (kind, phase) in enumerate((kind, phase) for kind in KINDS for phase in PHASES)
]
"""Every kind of process in every phase, one an iteration, at its beginning or in its middle (a commit has none)."""
AT_DISK_CALLS = [
    Fault(kind, 2 + len(IN_PHASES) + index, phase, disk_call=call, count=count)
    for index, (kind, phase, call, count) in enumerate(
        [
            ("collector", "collect", "write", 1),
            ("collector", "collect", "fsync", 1),
            ("collector", "collect", "rename", 1),
            ("collector", "collect", "fsync", 2),  # of the directory
            ("learner", "actor critic", "write", 1),
            ("learner", "actor critic", "fsync", 1),
            ("learner", "actor critic", "rename", 2),  # the second file
            ("learner", "actor critic", "fsync", 6),  # the last one
        ]
    )
]


def test_stand_ins_start_without_torch():
    """Every process that is replaced would load it anew, which takes longer than all the rest."""
    code = "import sys, tests.faults.fakes; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_run_whose_processes_are_killed_everywhere_ends_as_one_that_nothing_happened_to(
    tmp_path: Path, processes: RayProcesses
):
    faults = [BEFORE_ANY_COMMIT, *IN_PHASES, *AT_DISK_CALLS]
    config = config_of(iterations=faults[-1].iteration + 1)
    undisturbed = play(tmp_path / "undisturbed", config, processes)
    disturbed = play(tmp_path / "disturbed", config, processes, faults)
    assert [str(fault) for fault in faults if fault.hit is None] == []
    for fault in IN_PHASES:
        assert fault.hit == fault.phase, fault
    assert [str(fault) for fault in faults if fault.recovered_s is None] == []
    assert disturbed == undisturbed


def test_processes_that_are_stopped_are_replaced_once_a_call_takes_too_long(tmp_path: Path, processes: RayProcesses):
    """All at once; a stopped one must not live on, or it would wake up beside the one that replaced it."""
    config = config_of(iterations=3)
    timeouts = {"call_timeout_s": 20, "start_timeout_s": 20}
    config = config.model_copy(update={"cluster": config.cluster.model_copy(update=timeouts)})
    faults = [Fault(kind, 2, "actor critic", signal=signal.SIGSTOP) for kind in KINDS]
    undisturbed = play(tmp_path / "undisturbed", config, processes)
    disturbed = play(tmp_path / "disturbed", config, processes, faults)
    assert [str(fault) for fault in faults if fault.hit != "actor critic"] == []
    assert [line for line in disturbed.lines if line.startswith(("waited", "started"))] == [
        "waited 20 s for gradient steps of actor_critic in vain; going back to iteration 1, the last commit",
        "started again: learner 0, collector 0, evaluator 0",
    ]
    assert disturbed == undisturbed
    deadline = time.monotonic() + PATIENCE_S
    while alive := [fault for fault in faults if Path(f"/proc/{fault.pid}").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def test_a_run_that_loses_a_process_again_and_again_gives_up_and_can_be_resumed(
    tmp_path: Path, processes: RayProcesses
):
    config = config_of(iterations=3)
    allowed = config.cluster.max_losses
    faults = [Fault("learner", 2, "tokenizer") for _ in range(allowed + 1)]
    with pytest.raises(RunFailedError) as failed:
        play(tmp_path / "disturbed", config, processes, faults)
    assert [fault.hit for fault in faults] == ["tokenizer"] * (allowed + 1)
    message = str(failed.value)
    assert message.startswith("the process died that was to do: gradient steps of tokenizer (")
    where_it_stands = "iteration 1 is the last commit; the same command resumes there"
    assert message.endswith(f"that was loss {allowed + 1} since the last commit: giving up; {where_it_stands}")
    assert "\n" not in message
    assert play(tmp_path / "disturbed", config, processes) == play(tmp_path / "undisturbed", config, processes)


def test_a_cluster_without_room_for_what_was_lost_stops_the_run_in_one_line(
    tmp_path: Path, processes: RayProcesses, monkeypatch: pytest.MonkeyPatch
):
    def no_room(workers: Workers) -> None:
        raise ClusterError("a node was lost: found no other with 1 CPU free in 120 s")

    monkeypatch.setattr(Workers, "replace_lost", no_room)
    with pytest.raises(RunFailedError) as failed:
        play(tmp_path / "run", config_of(iterations=3), processes, [Fault("evaluator", 2, "evaluate")])
    assert str(failed.value) == (
        "a node was lost: found no other with 1 CPU free in 120 s; iteration 1 is the last commit; the same command"
        " resumes there"
    )
