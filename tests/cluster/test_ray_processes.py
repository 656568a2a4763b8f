"""Resources are reserved or their lack is named; processes get their threads, their memory, and no GPU of others."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray
from ray.util.placement_group import placement_group_table

from cluster import ray_processes
from cluster.config import ClusterConfig
from cluster.errors import ClusterError
from cluster.process import Placement, num_cores
from cluster.ray_processes import RayProcesses, wait
from tests.cluster.fakes import Worker

pytestmark = pytest.mark.ray
PATIENCE_S = 120


@pytest.fixture
def everything(cluster: ClusterConfig, processes: RayProcesses) -> Iterator[None]:
    """All CPUs but the one that `processes` hold are taken."""
    if num_cores() < 2:
        pytest.fail("found one CPU core, expected at least two")
    others = RayProcesses(cluster.start_timeout_s)
    others.reserve([{"CPU": num_cores() - 1}])
    yield
    others.release()


def refusal(timeout_s: float, *bundles: dict[str, float]) -> str:
    with pytest.raises(ClusterError) as refused:
        RayProcesses(timeout_s).reserve(bundles)
    return str(refused.value)


def test_the_embedded_ray_has_the_cores_that_this_process_may_use(processes: RayProcesses):
    assert [node.get("CPU") for node in processes.nodes()] == [num_cores()]


def test_a_node_has_no_more_memory_than_its_control_groups_allow(
    processes: RayProcesses, monkeypatch: pytest.MonkeyPatch
):
    (node,) = processes.nodes()
    assert 0 < node["memory"] <= ray_processes.total_memory()
    monkeypatch.setattr(ray_processes, "total_memory", lambda: 12_345)
    assert processes.nodes() == [{**node, "memory": 12_345.0}]
    assert num_cores() == len(os.sched_getaffinity(0))


def test_more_cpus_than_any_node_has_are_refused_at_once(cluster: ClusterConfig):
    found = num_cores()
    expected = f"no node is large enough: found {found} CPU, expected {found + 1} CPU on one"
    assert refusal(10_000, {"CPU": found + 1}) == expected


def test_more_gpus_than_any_node_has_are_refused_at_once(processes: RayProcesses):
    cpus, gpus = num_cores(), int(processes.nodes()[0].get("GPU", 0))
    expected = f"no node is large enough: found {cpus} CPU and {gpus} GPU, expected 1 CPU and {gpus + 1} GPU on one"
    assert refusal(10_000, {"CPU": 1, "GPU": gpus + 1}) == expected


def test_more_cpus_than_all_nodes_have_are_refused_at_once(cluster: ClusterConfig):
    found = num_cores()
    expected = f"the cluster is too small: found {found} CPU on 1 nodes, expected {found + 1} CPU"
    assert refusal(10_000, {"CPU": 1}, *[{"CPU": 1.0}] * found) == expected


def test_a_bundle_is_on_a_node_of_its_label(cluster: ClusterConfig):
    node = ray.nodes()[0]
    labels: dict[str, str] = node["Labels"]
    name, value = next(iter(labels.items()))
    processes = RayProcesses(10_000)
    processes.reserve([{"CPU": 0.5}], [{name: value}])
    assert processes.host_of(Placement(threads=1)) == node["NodeManagerAddress"]
    processes.release()
    with pytest.raises(ClusterError) as refused:
        processes.reserve([{"CPU": 0.5}], [{name: "another"}])
    assert str(refused.value) == f"found no node with {name}=another, expected at least one"
    with pytest.raises(ClusterError, match=rf"found \d+ CPU, expected 999 CPU on one with {name}={value}"):
        processes.reserve([{"CPU": 999}], [{name: value}])


def test_resources_that_others_hold_are_refused_after_the_time_given(everything: None):
    expected = "no free resources after 1 s: found 0 CPU, expected 1 CPU, 1 CPU, each on one node"
    assert refusal(1.0, {"CPU": 1}, {"CPU": 1}) == expected


def test_a_refused_reservation_does_not_go_on_waiting_for_the_resources(everything: None):
    refusal(1.0, {"CPU": 1})
    assert "PENDING" not in {group["state"] for group in placement_group_table().values()}


def test_a_process_is_built_from_its_arguments(processes: RayProcesses):
    worker = processes.start("worker", Worker, "a", "b", placement=Placement(threads=1), suffix="!")
    assert wait(worker.call("name"), "its name", PATIENCE_S) == "a-b!"
    ray.kill(worker.actor)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_process_has_its_threads_which_sleep_while_they_wait_and_sees_no_gpu(processes: RayProcesses, threads: int):
    worker = processes.start("worker", Worker, placement=Placement(threads=threads))
    environment = wait(worker.call("environment"), "its environment", PATIENCE_S)
    expected = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "2000",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert {name: environment.get(name) for name in expected} == expected
    ray.kill(worker.actor)


def test_more_processes_than_cpus_share_one_reservation(processes: RayProcesses):
    workers = [processes.start(str(i), Worker, str(i), placement=Placement(threads=1)) for i in range(3)]
    names = wait([worker.call("name") for worker in workers], "their names", PATIENCE_S)
    assert names == ["0", "1", "2"]
    for worker in workers:
        ray.kill(worker.actor)
